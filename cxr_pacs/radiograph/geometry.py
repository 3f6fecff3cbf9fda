"""The part of a radiograph that is picture, and its place in the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cxr_pacs.radiograph.rendering import Radiograph

__all__ = ["Geometry", "valid_part"]

_Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where in a source picture the part lies that is read.

    Attributes
    ----------
    rows, columns : int
        The source picture.
    top, left, height, width : int
        The part: the bounding box of the valid pixels.
    """

    rows: int
    columns: int
    top: int
    left: int
    height: int
    width: int

    def place(self, part: _Picture) -> _Picture:
        """Put values over the part, shape (height, width), at their place in the source; 0 around them."""
        if part.shape == (self.rows, self.columns):
            return part
        whole = np.zeros((self.rows, self.columns), np.float32)
        whole[self.top : self.top + self.height, self.left : self.left + self.width] = part
        return whole


def valid_part(radiograph: Radiograph) -> tuple[_Picture, Geometry]:
    """Cut a radiograph to the bounding box of its valid pixels.

    Parameters
    ----------
    radiograph : Radiograph
        From `read_radiograph`.

    Returns
    -------
    float32 ndarray, shape (height, width)
        P-values in [0, 1]; a view into the radiograph's pixels.
    Geometry
        Where the part lies.
    """
    rows, columns = radiograph.pixels.shape
    top, height = _extent(radiograph.valid, 1)
    left, width = _extent(radiograph.valid, 0)
    part = radiograph.pixels[top : top + height, left : left + width]
    return part, Geometry(rows=rows, columns=columns, top=top, left=left, height=height, width=width)


def _extent(valid: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return where the valid part begins and how long it is, seen along `axis`."""
    indices = np.flatnonzero(valid.any(axis=axis))
    return int(indices[0]), int(indices[-1] - indices[0] + 1)
