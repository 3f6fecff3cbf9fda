"""Crop and resize for the network, and the way back, so that a map over its input finds the source pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cxr_pacs.radiograph.rendering import Radiograph

__all__ = ["Geometry", "area_average", "squash"]

_Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a source picture became the network's square.

    Attributes
    ----------
    rows, columns : int
        The source picture.
    top, left, height, width : int
        The part of it that was kept: the bounding box of the valid pixels.
    size : int
        Side of the square that the part was squashed to.
    """

    rows: int
    columns: int
    top: int
    left: int
    height: int
    width: int
    size: int

    def to_source(self, cells: _Picture, first_centre: float, pitch: float) -> _Picture:
        """Lay a map over the network's square back onto the source pixels.

        Parameters
        ----------
        cells : float32 ndarray, shape (h, w)
            Values at the points of an even grid over the square, e.g. a feature map of 7 x 7.
        first_centre : float
            Centre of cell 0 from the upper and left edge of the square, in cells; 0.5 where the cells divide
            the square evenly.
        pitch : float
            From one cell's centre to the next, as a share of the square's side, > 0.

        Returns
        -------
        float32 ndarray, shape (rows, columns)
            Bilinear between cell centres, constant beyond the outermost centres, 0 outside the kept part.
        """
        laid = np.zeros((self.rows, self.columns), np.float32)
        kept = laid[self.top : self.top + self.height, self.left : self.left + self.width]
        down, across = (
            _between_centres(count, (np.arange(side) + 0.5) / (side * pitch) - first_centre)
            for count, side in zip(cells.shape, kept.shape, strict=True)
        )
        np.matmul(down @ cells, across.T, out=kept)
        np.clip(kept, cells.min(), cells.max(), out=kept)  # rounding must not leave the map's range
        return laid


def squash(radiograph: Radiograph, size: int) -> tuple[_Picture, Geometry]:
    """Squash the valid part of a radiograph to a square, whatever its shape.

    Both axes are stretched to `size`, so the pixels' aspect has no effect.

    Parameters
    ----------
    radiograph : Radiograph
        From `read_radiograph`.
    size : int
        Side of the square in pixels.

    Returns
    -------
    float32 ndarray, shape (size, size)
        P-values in [0, 1], averaged over area.
    Geometry
        The way back.
    """
    rows, columns = radiograph.pixels.shape
    top, height = _extent(radiograph.valid, 1)
    left, width = _extent(radiograph.valid, 0)
    part = radiograph.pixels[top : top + height, left : left + width]
    geometry = Geometry(rows=rows, columns=columns, top=top, left=left, height=height, width=width, size=size)
    return area_average(part, (size, size)), geometry


def _extent(valid: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return where the valid part begins and how long it is, seen along `axis`."""
    indices = np.flatnonzero(valid.any(axis=axis))
    return int(indices[0]), int(indices[-1] - indices[0] + 1)


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


def _between_centres(count: int, places: NDArray[np.float64]) -> _Picture:
    """Return which share each of `count` cells, at 0, 1, …, has in each place, shape (places, count)."""
    at = np.clip(places, 0, count - 1)
    shares: _Picture = np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, None).astype(np.float32)
    return shares


def _coverage(source: int, target: int) -> NDArray[np.float64]:
    """Return which fraction of each output pixel each source pixel fills, shape (target, source)."""
    edges = np.arange(target + 1) * (source / target)
    pixel = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    covered: NDArray[np.float64] = np.clip(overlap, 0, None) * (target / source)
    return covered
