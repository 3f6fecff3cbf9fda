"""Hides a part of a radiograph, to see whether a model needs it: the lungs, or all but the lungs.

What stands for the lungs are the lung fields (`cxr_pacs.inference.lung_fields`), not the lung mask: a mask
leaves out opaque lung, and with it what a model of pneumonia must read.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_pacs.inference.preprocessing import BLANK, mask_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cxr_pacs.inference import Analysis, GuidedEngine
    from cxr_pacs.inference.lung_fields import LungFields

    Fill = Callable[["_Picture", "_Mask"], "_Picture"]

__all__ = ["FILLS", "View", "blank", "fields_over", "lungs_blanked", "lungs_only", "smooth"]

_Picture = NDArray[np.float32]
_Mask = NDArray[np.bool_]


class View(Enum):
    """What a model is given of a radiograph.

    In the views that are *held* the model is told the lung fields of the whole radiograph; in the others it
    segments what it is given anew, so that a fault may be the segmentation's.
    """

    WHOLE = "whole"
    BLANKED = "lungs_blanked"
    BLANKED_HELD = "lungs_blanked_held"
    ONLY = "lungs_only"
    ONLY_HELD = "lungs_only_held"

    @property
    def held(self) -> bool:
        """Whether the model is told where the lungs were."""
        return self in (View.BLANKED_HELD, View.ONLY_HELD)

    @property
    def hides_lungs(self) -> bool:
        """Whether the lung fields are what is hidden."""
        return self in (View.BLANKED, View.BLANKED_HELD)

    @property
    def words(self) -> str:
        """The name for a person: ``lungs blanked, fields held``."""
        plain = self.value.removesuffix("_held").replace("_", " ")
        return f"{plain}, fields held" if self.held else plain

    def analyse(self, engine: GuidedEngine, picture: _Picture, fields: LungFields, fill: Fill) -> Analysis:
        """
        Let `engine` read this view of `picture`.

        Parameters
        ----------
        engine : GuidedEngine
        picture : float32 ndarray, shape (rows, columns)
            P-values in 0..1 of the whole radiograph.
        fields : LungFields
            Its lung fields.
        fill : callable
            One of `FILLS`.
        """
        if self is View.WHOLE:
            return engine.analyse(picture)
        inside = fields_over(fields, (picture.shape[0], picture.shape[1]))
        hide = lungs_blanked if self.hides_lungs else lungs_only
        shown = hide(picture, inside, fill)
        return engine.analyse_within(shown, fields) if self.held else engine.analyse(shown)


def blank(picture: _Picture, hidden: _Mask) -> _Picture:
    """Replace what is `hidden` by `BLANK`, mid-grey; the edge tells the shape of what was hidden."""
    return np.where(hidden, np.float32(BLANK), picture)


def smooth(picture: _Picture, hidden: _Mask) -> _Picture:
    """
    Replace what is `hidden` by a smooth continuation of what is shown, so that there is no edge to be read.

    Parameters
    ----------
    picture : float32 ndarray, shape (rows, columns)
        P-values in 0..1; those that are hidden do not matter.
    hidden : bool ndarray, shape (rows, columns)

    Returns
    -------
    float32 ndarray, shape (rows, columns)
        Within the range of what is shown; `BLANK` where nothing is.

    References
    ----------
    Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4.2: pull-push.
    """
    shown = (~hidden).astype(np.float32)
    levels = [(picture * shown, shown)]
    while max(levels[-1][1].shape) > 1:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    filled = np.full((1, 1), BLANK, np.float32)
    for known, share in reversed(levels):
        wider = cv2.resize(filled, share.shape[::-1], interpolation=cv2.INTER_LINEAR)
        # A cell that is known in part says what it is as a whole; else what lies around it does.
        mean = np.divide(known, share, out=np.zeros_like(known), where=share > 0)
        filled = np.where(share > 0, mean, wider)
    return np.where(hidden, np.clip(filled, 0, 1), picture).astype(np.float32)


FILLS: Mapping[str, Fill] = MappingProxyType({"blank": blank, "smooth": smooth})
"""What is put in place of what is hidden, by name."""


def lungs_blanked(picture: _Picture, inside: _Mask, fill: Fill = blank) -> _Picture:
    """Hide what lies `inside` the lung fields [rows, columns]."""
    return fill(picture, inside)


def lungs_only(picture: _Picture, inside: _Mask, fill: Fill = blank) -> _Picture:
    """Hide all but what lies `inside` the lung fields [rows, columns]."""
    return fill(picture, ~inside)


def fields_over(fields: LungFields, shape: tuple[int, int]) -> _Mask:
    """Lay lung fields over the whole picture of `shape`: bool [rows, columns]."""
    box = fields.box
    top, bottom = round(box.top * shape[0]), round((box.top + box.height) * shape[0])
    left, right = round(box.left * shape[1]), round((box.left + box.width) * shape[1])
    inside = np.zeros(shape, np.bool_)
    if bottom > top and right > left:
        inside[top:bottom, left:right] = mask_over(fields.cells, (bottom - top, right - left))
    return inside


def _halved(values: _Picture) -> _Picture:
    rows, columns = values.shape
    size = ((columns + 1) // 2, (rows + 1) // 2)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
