"""Every figure of a table of scores: for all films, each cohort and each source, beside the baselines'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.figures import (
    RESAMPLES,
    Figure,
    Judged,
    Key,
    balanced_interval,
    interval,
    measure,
    patient_draws,
)
from training.evaluation.table import class_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluation.table import Baseline, Case, HeadScores, ScoreTable

__all__ = [
    "INTERVAL",
    "Evaluation",
    "Gain",
    "HeadFigures",
    "Row",
    "competing",
    "evaluate",
    "judge",
    "subsets",
]

INTERVAL = (
    f"95 %, bootstrap by patient, {RESAMPLES} resamples; exact binomial by patient where the figure is 0 or 1"
)
_COMPARED = ("accuracy", "balanced_accuracy", "auroc")
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadFigures:
    """One head's figures on the films that it knows the label of.

    Attributes
    ----------
    judged : Judged
        What was measured.
    figures : mapping of Key to Figure or None
        None where the films do not let the figure be measured.
    """

    judged: Judged
    figures: Mapping[Key, Figure | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much better the model is than the best baseline on the same films, resampled together.

    Attributes
    ----------
    value, low, high : float
        Difference and its 95 % interval.
    baseline : str
        Title of the baseline that is best by this figure on these films.
    baseline_value : float
    """

    value: float
    low: float
    high: float
    baseline: str
    baseline_value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Some of the films, and all that was measured on them.

    Attributes
    ----------
    films : int64 ndarray
        Their places in the table.
    heads : mapping of str to HeadFigures
        The model's; a head that knows no label of these films is left out.
    baselines : mapping of str to mapping of str to HeadFigures
        By title and head, of the baselines that compete here.
    gains : mapping of str to mapping of Key to Gain
        By head; empty without baselines.
    """

    films: NDArray[np.int64]
    heads: Mapping[str, HeadFigures]
    baselines: Mapping[str, Mapping[str, HeadFigures]]
    gains: Mapping[str, Mapping[Key, Gain]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """A table and its rows: ``all``, ``cohort=…``, ``source=…``, in this order."""

    table: ScoreTable
    rows: Mapping[str, Row]

    def patients(self, row: str) -> int:
        """Count the patients of a row."""
        return len({self.table.cases[i].patient for i in self.rows[row].films})


def subsets(cases: Sequence[Case]) -> dict[str, NDArray[np.int64]]:
    """Places of all films, of each cohort's and of each source's; films with an unknown one are in none."""
    groups = {"all": np.arange(len(cases))}
    for column, values in (
        ("cohort", [case.group for case in cases]),
        ("source", [case.source for case in cases]),
    ):
        for value in sorted(set(values) - {""}):
            groups[f"{column}={value}"] = np.flatnonzero(np.array(values) == value)
    return groups


def judge(table: ScoreTable, head: HeadScores, films: NDArray[np.int64]) -> Judged | None:
    """Take `head`'s scores of those `films` whose label it knows; None where there are none."""
    classes = {i: class_of(table.cases[i].label, head.labels) for i in films.tolist()}
    known = np.array([i for i in classes if classes[i] is not None], dtype=np.int64)
    if not len(known):
        return None
    return Judged(
        labels=head.labels,
        probabilities=head.probabilities[known],
        thresholds=head.thresholds[known],
        true=np.array([classes[i] for i in known.tolist()], dtype=np.int64),
        patients=np.unique([table.cases[i].patient for i in known], return_inverse=True)[1].astype(np.int64),
    )


def competing(table: ScoreTable, films: NDArray[np.int64]) -> tuple[Baseline, ...]:
    """Choose baselines for `films`: those fitted on everybody, or on the cohort that all `films` are of."""
    groups = {table.cases[i].group for i in films}
    return tuple(b for b in table.baselines if not b.cohort or groups == {b.cohort})


def evaluate(table: ScoreTable, resamples: int = RESAMPLES) -> Evaluation:
    """Measure every head, and every baseline beside it, on every row; equal tables give equal figures."""
    return Evaluation(
        table=table,
        rows={name: _row(table, films, resamples) for name, films in subsets(table.cases).items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """Figures with the resamples that they came from, for paired comparison."""

    result: HeadFigures
    resampled: Mapping[Key, NDArray[np.float64]]


def _row(table: ScoreTable, films: NDArray[np.int64], resamples: int) -> Row:
    heads: dict[str, HeadFigures] = {}
    baselines: dict[str, dict[str, HeadFigures]] = {}
    gains: dict[str, Mapping[Key, Gain]] = {}
    rivals = competing(table, films)
    for head in table.heads:
        judged = judge(table, head, films)
        if judged is None:
            continue
        draws = patient_draws(judged.patients, resamples, _SEED)
        model = _measured(judged, draws)
        heads[head.head] = model.result
        others: dict[str, _Measured] = {}
        for rival in rivals:
            for scores in rival.heads:
                if scores.head == head.head and (same := judge(table, scores, films)) is not None:
                    others[rival.title] = _measured(same, draws)
                    baselines.setdefault(rival.title, {})[head.head] = others[rival.title].result
        if others:
            gains[head.head] = _gains(model, others)
    return Row(films=films, heads=heads, baselines=baselines, gains=gains)


def _measured(judged: Judged, draws: NDArray[np.float32]) -> _Measured:
    values = measure(judged, np.ones((1, draws.shape[1]), np.float32))
    resampled = measure(judged, draws)
    figures = {key: interval(judged, key, float(values[key][0]), resampled[key]) for key in values}
    recalls = [figures["sensitivity", judged.labels[index]] for index in judged.present]
    if (balanced := figures["balanced_accuracy", ""]) is not None:
        known = [recall for recall in recalls if recall is not None]
        figures["balanced_accuracy", ""] = balanced_interval(balanced, known)
    return _Measured(result=HeadFigures(judged=judged, figures=figures), resampled=resampled)


def _gains(model: _Measured, others: Mapping[str, _Measured]) -> dict[Key, Gain]:
    """Compare with the best baseline by each figure."""
    gains = {}
    for key, figure in model.result.figures.items():
        if key[0] not in _COMPARED or figure is None:
            continue
        rivals = {
            title: found.value
            for title, other in others.items()
            if (found := other.result.figures.get(key)) is not None
        }
        if rivals:
            best = max(rivals, key=lambda title: rivals[title])
            lead = model.resampled[key] - others[best].resampled[key]
            low, high = np.nanpercentile(lead, (2.5, 97.5))
            gains[key] = Gain(
                value=figure.value - rivals[best],
                low=float(low),
                high=float(high),
                baseline=best,
                baseline_value=rivals[best],
            )
    return gains
