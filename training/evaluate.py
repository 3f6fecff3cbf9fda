"""Figures of a model with their intervals: overall, adults alone, each source alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.inference.manifest import Head, Metric
from training.calibrate import truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = ["HeadScores", "measure", "report", "subsets"]

_RESAMPLES = 500
_INTERVAL = "95 %, bootstrap by patient; exact binomial by patient where the figure is 0 or 1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadScores:
    """What one head says of some films.

    Attributes
    ----------
    head : str
    labels : tuple of str
    thresholds : tuple of float
        Operating point of each label.
    scores : mapping of Film to float64 ndarray, shape (labels,)
    """

    head: str
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    scores: Mapping[Film, NDArray[np.float64]]

    @classmethod
    def of(cls, head: Head, scores: Mapping[Film, NDArray[np.float64]]) -> HeadScores:
        """Take names and thresholds from the head's table in a manifest."""
        return cls(
            head=head.name,
            labels=tuple(label.name for label in head.labels),
            thresholds=tuple(label.threshold for label in head.labels),
            scores=scores,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Figure:
    """A value, and which films it speaks of."""

    value: float
    films: NDArray[np.bool_]


def subsets(parts: Mapping[str, Sequence[Film]]) -> dict[str, tuple[Film, ...]]:
    """Group the films to report on: test, and pooled with val since the groups within test are small."""
    test, pooled = tuple(parts["test"]), (*parts["val"], *parts["test"])
    groups = {
        "test": test,
        "test, adults": tuple(film for film in test if film.adult),
        "val and test": pooled,
        "val and test, adults": tuple(film for film in pooled if film.adult),
    }
    for source in sorted({film.source for film in pooled}):
        groups[f"val and test, {source}"] = tuple(film for film in pooled if film.source == source)
    return groups


def report(heads: Sequence[HeadScores], parts: Mapping[str, Sequence[Film]]) -> tuple[Metric, ...]:
    """Measure every head on every group of films."""
    groups = subsets(parts)
    return tuple(
        metric for head in heads for name, films in groups.items() for metric in measure(name, films, head)
    )


def measure(name: str, films: Sequence[Film], head: HeadScores) -> Iterator[Metric]:
    """
    Measure one head on the group `films` called `name`; films whose label it does not know are left out.

    Yields
    ------
    Metric
        Accuracy; balanced accuracy and each class's AUROC where the group has more than one class;
        sensitivity and specificity of each class at its threshold where there are films to measure them on.
    """
    known = [film for film in films if film.label in head.labels]
    if not known:
        return
    true = truth([film.label for film in known], head.labels)
    scores = np.stack([head.scores[film] for film in known])
    patients = np.unique([film.patient for film in known], return_inverse=True)[1]
    figures = _figures(scores, true, head)
    resampled = _resample(scores, true, patients, head)
    for figure_name, figure in figures.items():
        counted = len(np.unique(patients[figure.films]))
        low, high = np.percentile(resampled[figure_name], (2.5, 97.5))
        if figure.value == 0:
            high = 1 - 0.025 ** (1 / counted)
        if figure.value == 1:
            low = 0.025 ** (1 / counted)
        yield Metric(
            head=head.head,
            name=figure_name,
            films=name,
            value=round(figure.value, 3),
            low=round(float(low), 3),
            high=round(float(high), 3),
            images=int(figure.films.sum()),
            patients=counted,
            interval=_INTERVAL,
        )


def _resample(
    scores: NDArray[np.float64], true: NDArray[np.int64], patients: NDArray[np.int64], head: HeadScores
) -> dict[str, list[float]]:
    """Draw patients with replacement, all their films at once, and measure each draw."""
    rng = np.random.default_rng(0)
    films_of = [np.flatnonzero(patients == patient) for patient in range(patients.max() + 1)]
    drawn: dict[str, list[float]] = {}
    for _ in range(_RESAMPLES):
        rows = np.concatenate([films_of[i] for i in rng.integers(len(films_of), size=len(films_of))])
        for name, figure in _figures(scores[rows], true[rows], head).items():
            drawn.setdefault(name, []).append(figure.value)
    return drawn


def _figures(scores: NDArray[np.float64], true: NDArray[np.int64], head: HeadScores) -> dict[str, _Figure]:
    every = np.ones(len(true), dtype=bool)
    right = scores.argmax(axis=1) == true
    present = np.unique(true)
    figures = {"accuracy": _Figure(value=float(right.mean()), films=every)}
    if len(present) > 1:
        recalls = [right[true == index].mean() for index in present]
        figures["balanced accuracy"] = _Figure(value=float(np.mean(recalls)), films=every)
    for index, (label, threshold) in enumerate(zip(head.labels, head.thresholds, strict=True)):
        positive, passed = true == index, scores[:, index] >= threshold
        if positive.any() and not positive.all():
            area = _auroc(scores[:, index], positive)
            figures[f"AUROC of {label}"] = _Figure(value=area, films=every)
        if positive.any():
            found = float(passed[positive].mean())
            figures[f"sensitivity of {label} at its threshold"] = _Figure(value=found, films=positive)
        if not positive.all():
            cleared = float(1 - passed[~positive].mean())
            figures[f"specificity of {label} at its threshold"] = _Figure(value=cleared, films=~positive)
    return figures


def _auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive film scores above a negative one, ties counting half (Mann and Whitney 1947)."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], side="left")
    not_above = np.searchsorted(negatives, scores[positive], side="right")
    return float((below + not_above).mean() / (2 * len(negatives)))
