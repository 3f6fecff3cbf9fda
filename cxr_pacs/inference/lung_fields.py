"""From a lung mask to the lung fields: where lungs must be, also where the mask misses opaque lung.

A segmentation network follows aerated lung and leaves out just what matters most, consolidation. Convex hulls
close its bays, and the other lung's mirror image covers what of a lung is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import SimpleITK as sitk  # noqa: N813  as it is called everywhere
from numpy.typing import NDArray

from cxr_pacs.inference.findings import Box
from cxr_pacs.inference.preprocessing import mask_over

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LungFields", "clean_mask", "lung_fields"]

_SMALLEST = 0.02  # of the picture, what counts as lung
_MARGIN = 0.04  # of the bounding box's side, at each end
_DILATION = 0.03  # of the box's side
_GRID = 128  # cells of the fields along each side of the box

_Mask = NDArray[np.bool_]
_Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungFields:
    """Where in a picture the lungs must be.

    Attributes
    ----------
    box : Box
        Bounding box of the lungs with its margin, in shares of the picture.
    cells : bool ndarray, shape (128, 128)
        Over the box: True in a lung field.
    """

    box: Box
    cells: _Mask

    def over(self, size: int) -> _Mask:
        """Lay the fields over a square of `size` to which the box is squashed: bool [size, size]."""
        return mask_over(self.cells, (size, size))


def clean_mask(mask: _Mask) -> _Mask:
    """Keep the two largest connected components of at least 2 % of the picture, and fill their holes."""
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    ranked = sitk.RelabelComponent(components, minimumObjectSize=max(1, round(_SMALLEST * mask.size)))
    lungs = (ranked > 0) & (ranked <= 2)
    filled: _Mask = sitk.GetArrayFromImage(sitk.BinaryFillhole(lungs)).astype(bool)
    return filled


def lung_fields(mask: _Mask) -> LungFields | None:
    """
    Find the lung fields of a mask.

    Parameters
    ----------
    mask : bool ndarray, shape (rows, columns)
        Cleaned lungs over a whole picture, of any resolution.

    Returns
    -------
    LungFields or None
        The box is the mask's bounding box with a margin of 4 % of its sides, cut at the picture's border. In
        it the fields are the convex hull of each component, these mirrored left to right about the middle
        of the bounding box, and what lies within 3 % of the box's side of either. None where less than 2 %
        of the picture is lung.
    """
    if mask.mean() < _SMALLEST:
        return None
    down, across = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, height = _with_margin(down, mask.shape[0])
    left, width = _with_margin(across, mask.shape[1])
    middle = (across[0] + across[-1] + 1) / 2
    places = (np.arange(_GRID) + 0.5) / _GRID
    x = left + places * width
    inside = np.zeros((_GRID, _GRID), np.bool_)
    for hull in _hulls(mask):
        first, last = _span(hull, top + places * height)
        for seen in (x, 2 * middle - x):
            inside |= (first <= seen) & (seen <= last)
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    box = Box(
        top=top / mask.shape[0],
        left=left / mask.shape[1],
        height=height / mask.shape[0],
        width=width / mask.shape[1],
    )
    return LungFields(box=box, cells=np.asarray(distance <= _DILATION * _GRID, np.bool_))


def _with_margin(taken: NDArray[np.intp], side: int) -> tuple[float, float]:
    """Start and length of the span of indices `taken`, widened and cut at the border."""
    first, last = float(taken[0]), float(taken[-1] + 1)
    margin = _MARGIN * (last - first)
    start = max(0.0, first - margin)
    return start, min(float(side), last + margin) - start


def _hulls(mask: _Mask) -> Iterator[_Points]:
    """Corners (x, y) of the convex hull of each component, around the squares of its pixels."""
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    for number in range(1, count):
        rows, columns = np.nonzero(components == number)
        corners = [np.stack([columns + right, rows + below], axis=1) for right in (0, 1) for below in (0, 1)]
        yield cv2.convexHull(np.concatenate(corners).astype(np.int32))[:, 0].astype(np.float64)


def _span(hull: _Points, y: NDArray[np.float64]) -> tuple[_Points, _Points]:
    """Leftmost and rightmost x of `hull` at each height `y`, [n, 1] each; reversed where it has none."""
    (x0, y0), (x1, y1) = hull.T, np.roll(hull, -1, axis=0).T
    sloped = y0 != y1
    x0, y0, x1, y1 = (ends[sloped] for ends in (x0, y0, x1, y1))
    crossing = x0 + (y[:, None] - y0) * (x1 - x0) / (y1 - y0)
    crossed = (np.minimum(y0, y1) <= y[:, None]) & (y[:, None] <= np.maximum(y0, y1))
    left = np.where(crossed, crossing, np.inf).min(axis=1, keepdims=True)
    right = np.where(crossed, crossing, -np.inf).max(axis=1, keepdims=True)
    return left, right
