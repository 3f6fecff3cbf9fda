"""From a dataset to the radiograph as displayed: P-values, what of it is picture, and remarks on quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.elements import codes, numbers, text
from cxr_pacs.radiograph.grayscale import display_table, is_for_processing, processing_table
from cxr_pacs.radiograph.pixels import StoredPixels, decode
from cxr_pacs.radiograph.visibility import inside_shutter, not_padding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Radiograph", "read_radiograph"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Radiograph:
    """A radiograph as a display would show it.

    Attributes
    ----------
    pixels : float32 ndarray, shape (rows, columns)
        P-values in [0, 1]: 0 is black, 1 is white; 0 where `valid` is False.
    valid : bool ndarray, shape (rows, columns)
        False for padding and outside the shutter.
    aspect : float
        Row spacing divided by column spacing; 1 for square pixels or where nothing tells.
    quality : tuple of str
        Short sentences on what may harm a reading; empty when nothing was found.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    aspect: float
    quality: tuple[str, ...]


def read_radiograph(dataset: Dataset) -> Radiograph:
    """Decode and render the single frame of `dataset`.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With file meta information, as read from a Part 10 file; it is not changed.

    Returns
    -------
    Radiograph
        Modality LUT → VOI LUT → presentation applied once (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

    Raises
    ------
    UnreadablePixels
        Pixel data or look-up tables that are absent, truncated, contradictory or too large.
    """
    if text(dataset, "PhotometricInterpretation") not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnreadablePixels("Photometric Interpretation is neither MONOCHROME1 nor MONOCHROME2.")
    stored = decode(dataset)
    aspect = _aspect(dataset)
    valid = _valid(dataset, stored, aspect)
    make_table = processing_table if is_for_processing(dataset) else display_table
    table = make_table(dataset, stored, _sample(stored, valid))
    pixels = table.p_values[stored.codes]
    quality = [*table.quality, *_orientation_remarks(dataset)]
    if not valid.all():
        pixels[~valid] = 0
        if valid.mean() < 0.5:
            quality.append("Padding or shutter hide more than half of the picture.")
    return Radiograph(pixels=pixels, valid=valid, aspect=aspect, quality=tuple(quality))


def _valid(dataset: Dataset, stored: StoredPixels, aspect: float) -> NDArray[np.bool_]:
    by_code = not_padding(dataset, stored)
    shape = stored.codes.shape
    valid = np.ones(shape, np.bool_) if by_code.all() else by_code[stored.codes]
    shutter = inside_shutter(dataset, (shape[0], shape[1]), aspect)
    if shutter is not None:
        valid &= shutter
    if not valid.any():
        raise UnreadablePixels("Padding and shutter leave nothing of the picture.")
    return valid


def _sample(stored: StoredPixels, valid: NDArray[np.bool_]) -> NDArray[np.unsignedinteger[Any]]:
    """Return codes of visible pixels, on a grid of about 128 x 128 where the picture is large."""
    step = tuple(slice(None, None, max(1, side // 128)) for side in valid.shape)
    sample = stored.codes[step][valid[step]]
    return sample if sample.size else stored.codes[valid]


def _aspect(dataset: Dataset) -> float:
    """Row spacing by column spacing (PS3.3 10.7, C.7.6.3.1.7); each pair names the rows' direction first."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        pair = numbers(dataset, keyword)
        if len(pair) == 2 and min(pair) > 0:
            return pair[0] / pair[1]
    return 1.0


def _orientation_remarks(dataset: Dataset) -> list[str]:
    r"""Remark on a picture that is not shown as usual, ``L\F``: the viewer's right is the patient's left."""
    orientation = codes(dataset, "PatientOrientation")
    if len(orientation) != 2:
        return []
    row, column = (value[:1] for value in orientation)
    remarks = []
    if row == "R" and column in {"F", "H"}:
        remarks.append("Patient Orientation says that the picture is mirrored.")
    if row in {"L", "R"} and column == "H":
        remarks.append("Patient Orientation says that the picture is upside down.")
    return remarks
