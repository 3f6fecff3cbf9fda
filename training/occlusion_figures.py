"""What is left of a model's figures when a part of each film is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.figures import RESAMPLES, Figure, measure, patient_draws

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.evaluation import Evaluation
    from training.evaluation.evaluate import HeadFigures

__all__ = ["Occluded", "kept_above_chance"]

_SEED = 0
_BALANCED = ("balanced_accuracy", "")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occluded:
    """One view of the films, judged.

    Attributes
    ----------
    evaluation : Evaluation
    kept : mapping of str to Figure or None
        By row of the evaluation: which share of balanced accuracy's distance above chance is left of what the
        whole films give, resampled together; 1 is all, 0 or less is none. It has no spread where a view gets
        nothing wrong, or gives one class always. None where the whole films give nothing above chance.
    without_lungs : int
        Films in which segmentation found no lungs any more; 0 where the fields were held.
    """

    evaluation: Evaluation
    kept: Mapping[str, Figure | None]
    without_lungs: int


def kept_above_chance(whole: Evaluation, other: Evaluation, head: str) -> dict[str, Figure | None]:
    """
    Compare balanced accuracies, row by row, on the same resamples of patients.

    Parameters
    ----------
    whole, other : Evaluation
        Of the same films, whole and with a part hidden.
    head : str

    Returns
    -------
    dict
        As `Occluded.kept`. Chance is 1 by the number of classes that a row has.
    """
    return {
        name: _ratio(row.heads[head], other.rows[name].heads[head])
        for name, row in whole.rows.items()
        if head in row.heads
    }


def _ratio(whole: HeadFigures, other: HeadFigures) -> Figure | None:
    """Distances of balanced accuracy above chance, one by the other."""
    ours, theirs = other.figures[_BALANCED], whole.figures[_BALANCED]
    chance = 1 / len(whole.judged.present)
    if ours is None or theirs is None or theirs.value <= chance:
        return None
    draws = patient_draws(whole.judged.patients, RESAMPLES, _SEED)
    over, under = (measure(each.judged, draws)[_BALANCED] - chance for each in (other, whole))
    usable = under > 0  # false for NaN too
    value = (ours.value - chance) / (theirs.value - chance)
    low, high = np.percentile(over[usable] / under[usable], (2.5, 97.5))
    return Figure(value=value, low=float(min(low, value)), high=float(max(high, value)))
