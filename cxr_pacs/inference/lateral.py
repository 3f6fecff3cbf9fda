"""In which lung a map lies, as seen in the picture: which side of the patient that is only a header knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import cv2
import numpy as np

from cxr_pacs.inference.lung_fields import clean_mask
from cxr_pacs.inference.preprocessing import mask_over
from cxr_pacs.inference.saliency import share_inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.findings import Findings, Saliency

__all__ = ["MAINLY", "located"]

MAINLY: Final = 0.75
"""Share of what a map has in both lungs from which on it lies mainly in one: three times the other's.

The map's cells are coarse, a seventh of the lungs' width and more, and fade over their neighbours: a map of
one side alone still reaches the other lung, and a bare majority would be chance.
"""

_GRID = 256  # both lungs and map are laid over so many rows and columns: finer than any map's cells


def located(findings: Findings, maps: Sequence[Saliency], lungs: NDArray[np.bool_] | None) -> Findings:
    """
    Add to each score the side of the picture on which its map lies in the lungs.

    Parameters
    ----------
    findings : Findings
    maps : sequence of Saliency
        Of the scores, in any order; a score without one stays as it is.
    lungs : bool ndarray, shape (rows, columns), or None
        Lung mask over the picture.

    Returns
    -------
    Findings
        `ClassScore.side` is set where the mask shows two lungs side by side and at least half of the map lies
        in them; `findings` itself where the lungs cannot be told apart.
    """
    parted = None if lungs is None else _parted(clean_mask(mask_over(lungs, (_GRID, _GRID))))
    if parted is None:
        return findings
    sides = {(one.head, one.label): _side(one.over((_GRID, _GRID)), *parted) for one in maps}
    scores = (replace(score, side=sides.get((score.head, score.label))) for score in findings.scores)
    return replace(findings, scores=tuple(scores))


def _side(
    laid: NDArray[np.float32], left: NDArray[np.bool_], right: NDArray[np.bool_]
) -> Literal["left", "right", "both"] | None:
    in_left, in_right = share_inside(laid, left), share_inside(laid, right)
    if in_left is None or in_right is None or in_left + in_right < 0.5:
        return None
    if in_left >= MAINLY * (in_left + in_right):
        return "left"
    if in_right >= MAINLY * (in_left + in_right):
        return "right"
    return "both"


def _parted(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Left and right lung of the picture; None unless there are two, and each lies beside the other."""
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    if count != 3:
        return None
    first, second = sorted((components == n for n in (1, 2)), key=_middle)
    if _middle(first) >= _columns(second)[0] or _middle(second) <= _columns(first)[-1]:
        return None
    return first, second


def _middle(lung: NDArray[np.bool_]) -> float:
    return float(np.nonzero(lung)[1].mean())


def _columns(lung: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(lung.any(axis=0))
