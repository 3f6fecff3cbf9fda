"""Modality LUT → VOI LUT → presentation, as one table from stored values to P-values in [0, 1].

The whole chain is a function of the stored value alone, so it is worked out once for each of the (at most
65536) stored values, in double precision, and an image is rendered by one look-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import DigitalXRayImageStorageForProcessing

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.elements import first_item, first_number, integer, numbers, text, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from cxr_pacs.radiograph.pixels import StoredPixels

__all__ = ["DisplayTable", "display_table", "is_for_processing", "processing_table"]

_Values = NDArray[np.float64]
_Codes = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DisplayTable:
    """P-values by stored bit pattern.

    Attributes
    ----------
    p_values : float32 ndarray, shape (2**bits,)
        0 is black, 1 is white; indexed by `StoredPixels.codes`.
    quality : tuple of str
        What a reader should know of how the table came about.
    """

    p_values: NDArray[np.float32]
    quality: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """Values on their way through the chain, by stored bit pattern, and whether they are signed."""

    values: _Values
    signed: bool


def display_table(dataset: Dataset, pixels: StoredPixels, visible: _Codes) -> DisplayTable:
    """Build the table of an image for presentation.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Its Modality LUT (PS3.3 C.11.1), VOI LUT (C.11.2) and Image Pixel (C.7.6.3) modules are read.
    pixels : StoredPixels
        Bits and sign of the stored values.
    visible : unsigned integer ndarray, shape (n,)
        Codes of visible pixels; a sample will do.

    Returns
    -------
    DisplayTable
        The first VOI LUT is used, else the first window, else the full range, which is right for images
        for presentation (C.8.11.3). MONOCHROME1 is inverted once.

    Raises
    ------
    UnreadablePixels
        A look-up table whose descriptor and data contradict each other.
    """
    quality: list[str] = []
    modality = _modality(dataset, pixels, quality)
    shown = _voi(dataset, modality, visible, quality)
    if shown.min() < 0 or shown.max() > 1:
        quality.append("VOI LUT has entries beyond its stated bits; they were shown as white.")
        shown = np.clip(shown, 0, 1)
    if _inverted(dataset, quality):
        shown = 1 - shown
    return DisplayTable(p_values=shown.astype(np.float32), quality=tuple(quality))


def is_for_processing(dataset: Dataset) -> bool:
    """Whether the stored values are those of the detector, without meaning for a display (C.8.11.1)."""
    by_class = text(dataset, "SOPClassUID") == DigitalXRayImageStorageForProcessing
    return by_class or text(dataset, "PresentationIntentType") == "FOR PROCESSING"


def processing_table(dataset: Dataset, pixels: StoredPixels, visible: _Codes) -> DisplayTable:
    """Build the table of an image for processing from what its values say of the X-ray beam.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Its Pixel Intensity Relationship and its sign are read (PS3.3 C.8.11.3.1.2).
    pixels : StoredPixels
        Bits and sign of the stored values.
    visible : unsigned integer ndarray, shape (n,)
        Codes of visible pixels; a sample will do.

    Returns
    -------
    DisplayTable
        Logarithm of a linear signal, less radiation shown brighter, the visible pixels' 1st to 99th
        percentile spread over [0, 1].

    Raises
    ------
    UnreadablePixels
        When the sign of the relationship is missing: black and white could not be told apart.
    """
    sign = integer(dataset, "PixelIntensityRelationshipSign")
    if sign not in {-1, 1}:
        raise UnreadablePixels("An image for processing without Pixel Intensity Relationship Sign.")
    signal = pixels.stored_values().astype(np.float64)
    if text(dataset, "PixelIntensityRelationship") == "LIN":
        signal = np.log(signal - signal.min() + 1)
    brightness = -sign * signal
    low, high = np.quantile(brightness[visible], (0.01, 0.99))
    shown = np.clip((brightness - low) / ((high - low) or 1), 0, 1)
    remark = "Image for processing: shown by a logarithm and a window of its own percentiles."
    return DisplayTable(p_values=shown.astype(np.float32), quality=(remark,))


def _modality(dataset: Dataset, pixels: StoredPixels, quality: list[str]) -> _Input:
    """Modality LUT Sequence, else Rescale Slope and Intercept (PS3.3 C.11.1.1)."""
    stored = pixels.stored_values().astype(np.float64)
    if (item := first_item(dataset, "ModalityLUTSequence")) is not None:
        lut = _lut(item, signed=pixels.signed)
        return _Input(values=lut(stored), signed=False)
    slope = first_number(dataset, "RescaleSlope")
    if slope == 0:
        quality.append("Rescale Slope is 0 and was ignored.")
    rescaled = stored * (slope or 1.0) + (first_number(dataset, "RescaleIntercept") or 0.0)
    return _Input(values=rescaled, signed=bool(rescaled.min() < 0))


def _voi(dataset: Dataset, modality: _Input, visible: _Codes, quality: list[str]) -> _Values:
    """First VOI LUT, else first window, else the full range (PS3.3 C.11.2.1, C.8.11.3.1.5)."""
    for name, shown in _alternatives(dataset, modality, quality):
        if not _flattens(shown, modality, visible):
            return shown
        quality.append(f"{name} leaves the picture without contrast and was ignored.")
    low, high = float(modality.values.min()), float(modality.values.max())
    return (modality.values - low) / ((high - low) or 1.0)


def _alternatives(dataset: Dataset, modality: _Input, quality: list[str]) -> Iterator[tuple[str, _Values]]:
    if (item := first_item(dataset, "VOILUTSequence")) is not None:
        lut = _lut(item, signed=modality.signed)
        yield "VOI LUT", lut(modality.values) / lut.top
    centre, width = first_number(dataset, "WindowCenter"), first_number(dataset, "WindowWidth")
    if centre is None and width is None:
        return
    function = text(dataset, "VOILUTFunction") or "LINEAR"
    if function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        quality.append("VOI LUT Function is unknown; LINEAR was used.")
        function = "LINEAR"
    if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
        quality.append("Window Center and Width are not valid and were ignored.")
        return
    yield "Window", _window(modality.values, centre, width, function)


def _flattens(shown: _Values, modality: _Input, visible: _Codes) -> bool:
    """Whether a VOI gives one shade to pixels that differ: it was made for other values than these.

    Compares the 2nd and the 98th percentile of the visible pixels.
    """
    if not visible.size:
        return False
    ordered = visible[np.argsort(modality.values[visible], kind="stable")]
    low, high = ordered[int(0.02 * ordered.size)], ordered[int(0.98 * ordered.size)]
    return bool(modality.values[low] != modality.values[high] and shown[low] == shown[high])


def _window(x: _Values, centre: float, width: float, function: str) -> _Values:
    """Apply the formulas of PS3.3 C.11.2.1.2.1 and C.11.2.1.3, to [0, 1]."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (x > centre).astype(np.float64)
    return np.clip((x - centre) / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lut:
    """One look-up table item (PS3.3 C.11.1.1, C.11.2.1.1): entries for inputs from `first` on, 0 to `top`."""

    first: int
    entries: _Values
    top: int

    def __call__(self, x: _Values) -> _Values:
        """Look up; inputs before the first and after the last entry take those."""
        index = np.clip(np.rint(x) - self.first, 0, len(self.entries) - 1)
        found: _Values = self.entries[index.astype(np.intp)]
        return found


def _lut(item: Dataset, *, signed: bool) -> _Lut:
    """Read a look-up table whose input is `signed` or not, which settles how its second number is meant."""
    descriptor = [int(v) for v in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise UnreadablePixels("A look-up table has no usable LUT Descriptor.")
    count = (descriptor[0] & 0xFFFF) or 65536  # 16 bits hold no 65536
    first = descriptor[1] & 0xFFFF
    if signed and first >= 0x8000:
        first -= 0x10000
    data = _lut_bytes(item)
    if len(data) >= 2 * count:
        entries = np.frombuffer(data, "<u2", count)
    elif len(data) in {count, count + 1}:  # 8-bit entries, two in a word
        entries = np.frombuffer(data, "u1", count)
    else:
        raise UnreadablePixels(f"LUT Data has {len(data)} bytes where its descriptor says {count} entries.")
    return _Lut(first=first, entries=entries.astype(np.float64), top=(1 << descriptor[2]) - 1)


def _lut_bytes(item: Dataset) -> bytes:
    """Return LUT Data as little-endian bytes; pydicom gives US as integers and OW as bytes."""
    found = values(item, "LUTData")
    if len(found) == 1 and isinstance(found[0], bytes):
        return found[0]
    try:
        return np.array([int(v) & 0xFFFF for v in found], "<u2").tobytes()
    except (TypeError, ValueError) as error:
        raise UnreadablePixels("LUT Data is not a list of numbers.") from error


def _inverted(dataset: Dataset, quality: list[str]) -> bool:
    """Whether low values are white; Photometric Interpretation is trusted over Presentation LUT Shape."""
    inverted = text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = text(dataset, "PresentationLUTShape")
    if shape in {"IDENTITY", "INVERSE"} and (shape == "INVERSE") != inverted:
        quality.append(
            "Presentation LUT Shape contradicts Photometric Interpretation; the latter was trusted."
        )
    return inverted
