"""Which pixels are picture: neither padding (PS3.3 C.7.5.1.1.2) nor outside the shutter (C.7.6.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_pacs.radiograph.elements import codes, integer, numbers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cxr_pacs.radiograph.pixels import StoredPixels

__all__ = ["inside_shutter", "not_padding"]

_Mask = NDArray[np.bool_]


def not_padding(dataset: Dataset, pixels: StoredPixels) -> _Mask:
    """Tell padding from picture, in the domain of stored values.

    Returns
    -------
    bool ndarray, shape (2**bits,)
        By `StoredPixels.codes`: False from Pixel Padding Value to Pixel Padding Range Limit, whichever of the
        two is the larger (their order depends on the photometric interpretation).
    """
    stored = pixels.stored_values()
    padding = integer(dataset, "PixelPaddingValue")
    if padding is None:
        return np.ones(stored.shape, np.bool_)
    limit = integer(dataset, "PixelPaddingRangeLimit")
    first, last = sorted(
        _as_stored(value, pixels.signed) for value in (padding, padding if limit is None else limit)
    )
    return (stored < first) | (stored > last)


def _as_stored(value: int, signed: bool) -> int:  # noqa: FBT001
    """Undo a value representation (US, SS) that contradicts Pixel Representation."""
    word = value & 0xFFFF
    return word - 0x10000 if signed and word >= 0x8000 else word


def inside_shutter(dataset: Dataset, shape: tuple[int, int], aspect: float) -> _Mask | None:
    """Find what the display shutter leaves visible; several shapes hide what any of them hides.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Its Display Shutter Module; edges and vertices are pixels counted from 1 that are visible themselves.
    shape : (int, int)
        Rows and columns.
    aspect : float
        Row spacing by column spacing: a circle's radius counts pixels along a row.

    Returns
    -------
    bool ndarray, shape (rows, columns), or None
        None when there is no shutter.
    """
    shapes = set(codes(dataset, "ShutterShape"))
    masks = [
        make(dataset, shape, aspect)
        for name, make in (("RECTANGULAR", _rectangle), ("CIRCULAR", _circle), ("POLYGONAL", _polygon))
        if name in shapes
    ]
    known = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(known) if known else None


def _rectangle(dataset: Dataset, shape: tuple[int, int], _aspect: float) -> _Mask | None:
    edges = [
        integer(dataset, f"Shutter{edge}Edge")
        for edge in ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
    ]
    if None in edges:
        return None
    upper, lower, left, right = (edge or 0 for edge in edges)
    mask = np.zeros(shape, np.bool_)
    mask[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = True
    return mask


def _circle(dataset: Dataset, shape: tuple[int, int], aspect: float) -> _Mask | None:
    centre, radius = numbers(dataset, "CenterOfCircularShutter"), numbers(dataset, "RadiusOfCircularShutter")
    if len(centre) != 2 or not radius:
        return None
    rows = (np.arange(1, shape[0] + 1)[:, None] - centre[0]) * aspect
    columns = np.arange(1, shape[1] + 1)[None, :] - centre[1]
    return rows**2 + columns**2 <= radius[0] ** 2


def _polygon(dataset: Dataset, shape: tuple[int, int], _aspect: float) -> _Mask | None:
    vertices = np.array(numbers(dataset, "VerticesOfThePolygonalShutter"))
    if len(vertices) < 6 or len(vertices) % 2:
        return None
    points = vertices.reshape(-1, 2)[:, ::-1].astype(np.int32) - 1  # row\column from 1 → x, y from 0
    return cv2.fillPoly(np.zeros(shape, np.uint8), [points], (1,)).astype(np.bool_)
