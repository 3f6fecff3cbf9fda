"""How a radiograph is to be displayed, as the modules that a presentation state needs (PS3.3 A.33.1).

A presentation state replaces what the image says of its own display (PS3.4 N.2): rescale, window, look-up
tables, polarity and shutter that are not repeated here would be lost. Photometric Interpretation is ignored,
so MONOCHROME1 becomes Presentation LUT Shape INVERSE. The first VOI LUT is taken, else the first window, as
the model saw the image; what the standard does not allow is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForProcessing
from pydicom.valuerep import DSfloat

from cxr_pacs.evidence.attributes import integers, items, octets, single, values
from cxr_pacs.evidence.source import image_reference

__all__ = ["describe_display", "is_displayable"]

_FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_SHUTTERS: Final = MappingProxyType(
    {
        "RECTANGULAR": MappingProxyType(
            dict.fromkeys(
                (
                    "ShutterLeftVerticalEdge",
                    "ShutterRightVerticalEdge",
                    "ShutterUpperHorizontalEdge",
                    "ShutterLowerHorizontalEdge",
                ),
                1,
            )
        ),
        "CIRCULAR": MappingProxyType({"CenterOfCircularShutter": 2, "RadiusOfCircularShutter": 1}),
        "POLYGONAL": MappingProxyType({"VerticesOfThePolygonalShutter": 0}),
    }
)
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def is_displayable(header: Dataset) -> bool:
    """Whether the stored values are meant for display; those for processing need more than a presentation."""
    by_class = single(header, "SOPClassUID") == DigitalXRayImageStorageForProcessing
    return not by_class and single(header, "PresentationIntentType") != "FOR PROCESSING"


def describe_display(dataset: Dataset, header: Dataset) -> None:
    """Add shutter, Modality LUT, VOI LUT and Presentation LUT of the image `header` to `dataset`.

    References
    ----------
    PS3.3 C.7.6.11 and C.11.12 (shutter), C.11.1, C.11.8, C.11.6.
    """
    _add_shutter(dataset, header)
    modality = _lut(header, "ModalityLUTSequence")
    _add_modality_lut(dataset, header, modality)
    if (voi := _voi(header, modality)) is not None:
        voi.ReferencedImageSequence = [image_reference(header)]
        dataset.SoftcopyVOILUTSequence = [voi]
    inverted = single(header, "PhotometricInterpretation") == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _add_shutter(dataset: Dataset, header: Dataset) -> None:
    shapes = []
    for shape in dict.fromkeys(values(header, "ShutterShape")):
        wanted = _SHUTTERS.get(shape, _NOTHING)
        found = {keyword: _whole_numbers(header, keyword) for keyword in wanted}
        if found and all(_is_complete(found[keyword], count) for keyword, count in wanted.items()):
            shapes.append(shape)
            for keyword, numbers in found.items():
                setattr(dataset, keyword, numbers[0] if len(numbers) == 1 else numbers)
    if shapes:
        dataset.ShutterShape = shapes
        dataset.ShutterPresentationValue = 0


def _is_complete(numbers: list[int], count: int) -> bool:
    """Whether there are `count` numbers; 0 stands for the vertices of a polygon."""
    return len(numbers) == count if count else len(numbers) >= 6 and len(numbers) % 2 == 0


def _whole_numbers(header: Dataset, keyword: str) -> list[int]:
    try:
        numbers = [int(text) for text in values(header, keyword)]
    except ValueError:
        return []
    return numbers if all(abs(number) < 1 << 31 for number in numbers) else []


def _add_modality_lut(dataset: Dataset, header: Dataset, lut: _Lut | None) -> None:
    if lut is not None:
        item = lut.item
        kind = single(items(header, "ModalityLUTSequence")[0], "ModalityLUTType")
        item.ModalityLUTType = kind if 0 < len(kind) <= 16 else "US"
        dataset.ModalityLUTSequence = [item]
        return
    slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
    if slope is None and intercept is None:
        return
    dataset.RescaleIntercept = _decimal(intercept or 0.0)
    dataset.RescaleSlope = _decimal(slope or 1.0)
    kind = single(header, "RescaleType")
    dataset.RescaleType = kind if 0 < len(kind) <= 16 else "US"


def _voi(header: Dataset, modality: _Lut | None) -> Dataset | None:
    """Item of Softcopy VOI LUT Sequence; None where the full range is to be shown."""
    voi = Dataset()
    if (lut := _lut(header, "VOILUTSequence")) is not None:
        voi.VOILUTSequence = [lut.spread.item]
        return voi
    centre, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    function = single(header, "VOILUTFunction")
    function = function if function in _FUNCTIONS else "LINEAR"
    if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
        if modality is None or np.ptp(modality.entries) == 0:
            return None
        # the full range is that of the table's own entries, whatever its bits could hold
        low, high = float(modality.entries.min()), float(modality.entries.max())
        centre, width, function = (low + high) / 2, high - low, "LINEAR_EXACT"
    voi.WindowCenter, voi.WindowWidth = _decimal(centre), _decimal(width)
    if function != "LINEAR":
        voi.VOILUTFunction = function
    return voi


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lut:
    """A look-up table: entries of 0 to `top` for the inputs from `first` on."""

    first: int
    entries: NDArray[np.uint16]
    top: int

    @property
    def spread(self) -> _Lut:
        """The same shares of the whole in 16 bits; not every viewer takes 10 to 15."""
        shares = np.minimum(self.entries.astype(np.float64) / self.top, 1)
        return replace(self, entries=np.rint(65535 * shares).astype(np.uint16), top=65535)

    @property
    def item(self) -> Dataset:
        """Descriptor and data in 16 bits (PS3.3 C.11.1.1), without any words."""
        signed = self.first < 0
        count = len(self.entries) & 0xFFFF  # 16 bits hold no 65536
        if signed and count >= 1 << 15:
            count -= 1 << 16  # the three numbers share one VR
        item = Dataset()
        item.add_new("LUTDescriptor", "SS" if signed else "US", [count, self.first, 16])
        item.add_new("LUTData", "OW", self.entries.astype("<u2").tobytes())
        return item


def _lut(header: Dataset, keyword: str) -> _Lut | None:
    """First look-up table in the sequence `keyword`; None when there is none, or none that fits together."""
    for item in items(header, keyword)[:1]:
        descriptor, data = integers(item, "LUTDescriptor"), octets(item, "LUTData")
        if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
            return None
        count = (descriptor[0] & 0xFFFF) or 1 << 16
        if len(data) >= 2 * count:
            entries = np.frombuffer(data, "<u2", count).astype(np.uint16)
        elif len(data) in {count, count + 1}:  # two 8-bit entries in a word
            entries = np.frombuffer(data, "u1", count).astype(np.uint16)
        else:
            return None
        return _Lut(first=descriptor[1], entries=entries, top=(1 << descriptor[2]) - 1)
    return None


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        found = float(single(header, keyword))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _decimal(number: float) -> DSfloat:
    return DSfloat(number, auto_format=True)
