"""Temperature and operating points of each head, chosen on the validation split alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluation.table import ScoreTable

__all__ = [
    "TARGET_SENSITIVITY",
    "Calibration",
    "OperatingPoint",
    "calibrate",
    "calibrate_table",
    "fit_temperature",
    "operating_point",
    "recalibrated",
    "softmax",
    "truth",
]

TARGET_SENSITIVITY = 0.9
_TEMPERATURES = np.geomspace(0.25, 4, 161)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A class's threshold, and in words how it was chosen."""

    threshold: float
    chosen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What makes a head's logits into scores and decisions: a temperature, and a point for each class."""

    temperature: float
    points: tuple[OperatingPoint, ...]


def softmax(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Scores [films, classes] of `logits` [films, classes] divided by `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def truth(labels: Sequence[str], head: Sequence[str]) -> NDArray[np.int64]:
    """Index of each label among the head's; -1 where the head does not know it."""
    return np.array([head.index(label) if label in head else -1 for label in labels], dtype=np.int64)


def calibrate(
    logits: NDArray[np.floating],
    labels: Sequence[str],
    head: Sequence[str],
    target: float = TARGET_SENSITIVITY,
) -> Calibration:
    """
    Calibrate one head.

    Parameters
    ----------
    logits : float ndarray, shape (films, classes)
        Of the validation films.
    labels : sequence of str
        The films' labels; films that the head does not know are left out.
    head : sequence of str
        The head's classes.
    target : float
        Sensitivity that every class's threshold must reach, in (0, 1].

    Raises
    ------
    CorpusError
        A class of the head has no validation film.
    """
    true = truth(labels, head)
    known = true >= 0
    temperature = fit_temperature(logits, true)
    scores = softmax(logits[known], temperature)
    points = []
    for index, label in enumerate(head):
        positive = true[known] == index
        if not positive.any():
            raise CorpusError(f"no validation film is labelled {label}, so its threshold cannot be chosen")
        points.append(operating_point(scores[:, index], positive, target))
    return Calibration(temperature=temperature, points=tuple(points))


def calibrate_table(validation: ScoreTable, target: float = TARGET_SENSITIVITY) -> dict[str, Calibration]:
    """
    Calibrate every head of a table of validation films, scored at temperature 1.

    Raises
    ------
    CorpusError
        A class of a head has no validation film.
    """
    labels = [case.label for case in validation.cases]
    return {
        head.head: calibrate(_logits(head.probabilities), labels, head.labels, target)
        for head in validation.heads
    }


def recalibrated(table: ScoreTable, calibrations: Mapping[str, Calibration]) -> ScoreTable:
    """Give the table, scored at temperature 1, as it is under the temperatures and thresholds chosen."""
    heads = []
    for head in table.heads:
        chosen = calibrations[head.head]
        thresholds = np.array([point.threshold for point in chosen.points])
        heads.append(
            replace(
                head,
                probabilities=softmax(_logits(head.probabilities), chosen.temperature),
                thresholds=np.broadcast_to(thresholds, head.probabilities.shape).copy(),
            )
        )
    return replace(table, heads=tuple(heads))


def _logits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits up to a constant for each film, which no softmax sees."""
    logits: NDArray[np.float64] = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logits


def fit_temperature(logits: NDArray[np.floating], true: NDArray[np.int64]) -> float:
    """Find the temperature in 0.25..4 that makes the true classes likeliest (Guo et al., ICML 2017)."""
    known = true >= 0
    picked = (np.arange(known.sum()), true[known])
    losses = [-np.log(softmax(logits[known], t)[picked] + 1e-12).mean() for t in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 3)


def operating_point(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], target: float = TARGET_SENSITIVITY
) -> OperatingPoint:
    """
    Choose the highest threshold that still finds the share `target` of the positives.

    Parameters
    ----------
    scores : float64 ndarray, shape (films,)
        Of one class.
    positive : bool ndarray, shape (films,)
        Which films are of that class; at least one is.
    target : float
        In (0, 1].
    """
    ranked = np.sort(scores[positive])[::-1]
    needed = max(1, int(np.ceil(target * len(ranked) - 1e-9)))
    threshold = float(np.clip(np.floor(ranked[needed - 1] * 1000) / 1000, 0.001, 0.999))
    passed = scores >= threshold
    chosen = (
        f"highest threshold with sensitivity of at least {target:g} on the validation films; "
        f"there sensitivity {passed[positive].mean():.3f} of {positive.sum()}"
    )
    if not positive.all():
        chosen += f", specificity {1 - passed[~positive].mean():.3f} of {(~positive).sum()}"
    return OperatingPoint(threshold=threshold, chosen=chosen)
