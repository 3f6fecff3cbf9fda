"""What the network sees of a film, before anything is changed at random: by the code that serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.inference.findings import Box
from cxr_pacs.inference.lung_fields import LungFields, clean_mask, lung_fields
from cxr_pacs.inference.preprocessing import area_average, crop_to_lung_fields, mask_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Segment = Callable[[NDArray[np.float32]], NDArray[np.bool_]]

__all__ = ["lung_view", "lungs_of", "whole_view"]

_EVERYTHING = LungFields(
    box=Box(top=0.0, left=0.0, height=1.0, width=1.0), cells=np.ones((2, 2), dtype=np.bool_)
)


def lungs_of(picture: NDArray[np.float32], segment: Segment, side: int) -> NDArray[np.bool_]:
    """Segment and clean: the lung mask of `picture`, bool [side, side] over the whole of it."""
    return clean_mask(segment(area_average(picture, (side, side))))


def lung_view(picture: NDArray[np.float32], mask: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """
    Crop to the lung fields.

    Parameters
    ----------
    picture : float32 ndarray, shape (rows, columns)
        P-values in 0..1.
    mask : bool ndarray
        Cleaned lungs over the whole picture.
    side : int
        Of the result, pixels.

    Returns
    -------
    uint8 ndarray, shape (side, side, 3)
        P-values times 255; 255 in the lung fields; 255 in the mask. Where no lungs are found: the whole.
    """
    return _view(picture, mask, lung_fields(mask) or _EVERYTHING, side)


def whole_view(picture: NDArray[np.float32], mask: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Squash the whole picture; everything is visible. Parameters and result as of `lung_view`."""
    return _view(picture, mask, _EVERYTHING, side)


def _view(
    picture: NDArray[np.float32], mask: NDArray[np.bool_], fields: LungFields, side: int
) -> NDArray[np.uint8]:
    shown = LungFields(box=fields.box, cells=_EVERYTHING.cells)
    pixels, box = crop_to_lung_fields(picture, shown, side)
    lungs = _cut(mask_over(mask, picture.shape), box, side)
    layers = (pixels, fields.over(side).astype(np.float32), lungs)
    return np.stack([(layer * 255).round() for layer in layers], axis=-1).astype(np.uint8)


def _cut(mask: NDArray[np.bool_], box: Box, side: int) -> NDArray[np.float32]:
    rows, columns = mask.shape
    down = slice(round(box.top * rows), round((box.top + box.height) * rows))
    across = slice(round(box.left * columns), round((box.left + box.width) * columns))
    return (area_average(mask[down, across].astype(np.float32), (side, side)) >= 0.5).astype(np.float32)
