"""From a picture of any shape to the network's input square, the same in training and in serving.

Every step is an average over areas, so a radiograph of 500 pixels and one of 5000 become the same square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_pacs.inference.findings import Box

if TYPE_CHECKING:
    from cxr_pacs.inference.lung_fields import LungFields

__all__ = ["BLANK", "area_average", "crop_to_lung_fields", "mask_over"]

BLANK = 0.5
"""P-value that stands for what the network must not see."""

_Picture = NDArray[np.float32]


def area_average(picture: _Picture, shape: tuple[int, int]) -> _Picture:
    """Resize so that each output pixel is the mean of the source over the rectangle that it covers.

    Source pixels are taken as constant squares, and covered fractions count; so enlarging is defined as well
    and gives each output pixel the value of the source pixel in which it lies, blended at borders.

    Parameters
    ----------
    picture : float32 ndarray, shape (rows, columns)
        The source.
    shape : (int, int)
        Rows and columns of the result.

    Returns
    -------
    float32 ndarray
        Of `shape`, within the range of the source.
    """
    # OpenCV averages by area exactly where both axes shrink; where it enlarges it can be one pixel off.
    smaller = (min(shape[1], picture.shape[1]), min(shape[0], picture.shape[0]))
    shrunk = np.asarray(cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA), np.float32)
    if shrunk.shape == shape:
        return shrunk
    return (_coverage(shrunk.shape[0], shape[0]) @ shrunk @ _coverage(shrunk.shape[1], shape[1]).T).astype(
        np.float32
    )


def crop_to_lung_fields(picture: _Picture, fields: LungFields, size: int) -> tuple[_Picture, Box]:
    """Squash the box of the lung fields to a square, and blank what is no lung field.

    Parameters
    ----------
    picture : float32 ndarray, shape (rows, columns)
        P-values in 0..1.
    fields : LungFields
        From `cxr_pacs.inference.lung_fields.lung_fields`, of a mask over the same picture.
    size : int
        Side of the square, pixels.

    Returns
    -------
    float32 ndarray, shape (size, size)
        `BLANK` outside the fields.
    Box
        What was cut out: that of the fields, rounded to whole pixels of the picture.
    """
    rows, columns = picture.shape
    top, bottom = _whole(fields.box.top, fields.box.height, rows)
    left, right = _whole(fields.box.left, fields.box.width, columns)
    square = area_average(picture[top:bottom, left:right], (size, size))
    square[~fields.over(size)] = BLANK
    box = Box(
        top=top / rows, left=left / columns, height=(bottom - top) / rows, width=(right - left) / columns
    )
    return square, box


def mask_over(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Lay a mask over a grid of another `shape`: bilinear between the centres of its pixels, cut at half."""
    laid = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(laid >= 0.5, np.bool_)


def _whole(start: float, length: float, side: int) -> tuple[int, int]:
    """First and last border, in whole pixels, at least one apart."""
    first = min(round(start * side), side - 1)
    return first, max(first + 1, min(round((start + length) * side), side))


def _coverage(source: int, target: int) -> NDArray[np.float64]:
    """Return which fraction of each output pixel each source pixel fills, shape (target, source)."""
    edges = np.arange(target + 1) * (source / target)
    pixel = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    covered: NDArray[np.float64] = np.clip(overlap, 0, None) * (target / source)
    return covered
