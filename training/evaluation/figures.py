"""Figures of one head on some films, counted once or on many bootstrap resamples at the same time.

Every figure is computed from weights of the films: ones give the figure itself, a matrix of how often each
film was drawn gives all its resamples in a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "BINS",
    "RESAMPLES",
    "Figure",
    "Judged",
    "Key",
    "balanced_interval",
    "bins",
    "interval",
    "measure",
    "patient_draws",
]

RESAMPLES = 2000
BINS = 15
_BLOCK = 250  # resamples at once, to bound the memory
Key = tuple[str, str]
"""Name of a figure, and the class that it is of; empty where it is of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """One head's scores of films whose label it knows.

    Attributes
    ----------
    labels : tuple of str
    probabilities, thresholds : float64 ndarray, shape (films, labels)
    true : int64 ndarray, shape (films,)
        Index of each film's label.
    patients : int64 ndarray, shape (films,)
        Number of each film's patient, from 0.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    true: NDArray[np.int64]
    patients: NDArray[np.int64]

    @property
    def decided(self) -> NDArray[np.int64]:
        """Index of the likeliest class of each film."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return likeliest

    @property
    def present(self) -> NDArray[np.int64]:
        """Classes that have films."""
        return np.unique(self.true)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Films by true class (rows) and decided class (columns)."""
        count = len(self.labels)
        cells = np.bincount(self.true * count + self.decided, minlength=count * count)
        return cells.reshape(count, count).astype(np.int64)


def patient_draws(patients: NDArray[np.int64], count: int, seed: int) -> NDArray[np.float32]:
    """
    Draw patients with replacement, all films of a patient together.

    Returns
    -------
    float32 ndarray, shape (count, films)
        How often each film is in each resample.

    References
    ----------
    Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8: resampling whole units.
    """
    units = int(patients.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=count)
    return drawn[:, patients].astype(np.float32)


def measure(judged: Judged, weights: NDArray[np.float32]) -> dict[Key, NDArray[np.float64]]:
    """
    Compute every figure for each row of `weights`.

    Parameters
    ----------
    judged : Judged
        At least one film.
    weights : float32 ndarray, shape (resamples, films)
        Whole numbers.

    Returns
    -------
    mapping of Key to float64 ndarray, shape (resamples,)
        NaN where the films do not let the figure be measured: it lacks a class that it needs.
    """
    figures: dict[Key, NDArray[np.float64]] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        figures |= _decisions(judged, weights)
        figures |= _operating_points(judged, weights)
    for index, label in enumerate(judged.labels):
        figures["auroc", label] = _auroc(judged.probabilities[:, index], judged.true == index, weights)
    figures["calibration_error", ""] = _calibration_error(judged, weights)
    return figures


def _decisions(judged: Judged, weights: NDArray[np.float32]) -> dict[Key, NDArray[np.float64]]:
    """Figures of the likeliest class, from one confusion matrix a resample."""
    count = len(judged.labels)
    cells = np.eye(count * count, dtype=np.float32)[judged.true * count + judged.decided]
    confusion = (weights @ cells).reshape(-1, count, count).astype(np.float64)
    total = confusion.sum(axis=(1, 2))
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    actual, called = confusion.sum(axis=2), confusion.sum(axis=1)
    others = total[:, np.newaxis] - actual
    refused = others - called + hits
    recalls = hits / actual
    figures: dict[Key, NDArray[np.float64]] = {("accuracy", ""): hits.sum(axis=1) / total}
    present = judged.present
    figures["balanced_accuracy", ""] = (
        recalls[:, present].mean(axis=1) if len(present) > 1 else np.full(len(weights), np.nan)
    )
    tables = {
        "sensitivity": recalls,
        "specificity": refused / others,
        "ppv": hits / called,
        "npv": refused / (total[:, np.newaxis] - called),
        "f1": 2 * hits / (actual + called),
    }
    for name, table in tables.items():
        for index, label in enumerate(judged.labels):
            # What is predicted says nothing where every film, or none, is of the class.
            needs_both = name in ("ppv", "npv", "f1")
            missing = needs_both and not (index in present and len(present) > 1)
            figures[name, label] = np.full(len(weights), np.nan) if missing else table[:, index]
    return figures


def _operating_points(judged: Judged, weights: NDArray[np.float32]) -> dict[Key, NDArray[np.float64]]:
    """Sensitivity and specificity of each class at its own threshold."""
    figures: dict[Key, NDArray[np.float64]] = {}
    passed = judged.probabilities >= judged.thresholds
    for index, label in enumerate(judged.labels):
        positive = judged.true == index
        for name, films, right in (
            ("sensitivity_at_threshold", positive, passed[:, index]),
            ("specificity_at_threshold", ~positive, ~passed[:, index]),
        ):
            counts = weights @ np.stack([films & right, films], axis=1).astype(np.float32)
            figures[name, label] = counts[:, 0].astype(np.float64) / counts[:, 1]
    return figures


def _auroc(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Chance that a positive film scores above a negative one, ties counting half (Mann, Whitney 1947)."""
    if positive.all() or not positive.any():
        return np.full(len(weights), np.nan)
    others = np.flatnonzero(~positive)
    others = others[np.argsort(scores[others], kind="stable")]
    ties = [np.searchsorted(scores[others], scores[positive], side=side) for side in ("left", "right")]
    shares = []
    for block in np.split(weights, range(_BLOCK, len(weights), _BLOCK)):
        up = block[:, positive]
        beaten = np.zeros((len(block), len(others) + 1), np.float32)  # by rank: whole numbers, exact to 2**24
        np.cumsum(block[:, others], axis=1, out=beaten[:, 1:])
        below = beaten[:, ties[0]]
        if (ties[0] != ties[1]).any():
            below = (below + beaten[:, ties[1]]) * np.float32(0.5)
        pairs = up.sum(axis=1, dtype=np.float64) * beaten[:, -1]
        with np.errstate(invalid="ignore"):
            shares.append((up * below).sum(axis=1, dtype=np.float64) / pairs)
    return np.concatenate(shares)


def bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of equal width of each confidence in 0..1: `BINS` of them, fewer for less than ten films a bin."""
    count = int(np.clip(len(confidence) // 10, 1, BINS))
    return np.clip(np.ceil(confidence * count).astype(np.int64) - 1, 0, count - 1)


def _calibration_error(judged: Judged, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean gap of confidence and accuracy over bins of confidence (Guo et al., ICML 2017)."""
    confidence = judged.probabilities.max(axis=1)
    placed = bins(confidence)
    gap = confidence - (judged.decided == judged.true)
    by_bin = np.eye(placed.max() + 1)[placed] * gap[:, np.newaxis]
    total: NDArray[np.float64] = np.abs(weights @ by_bin).sum(axis=1) / weights.sum(axis=1)
    return total


def interval(judged: Judged, key: Key, value: float, resampled: NDArray[np.float64]) -> Figure | None:
    """
    Give `value` its 95 % interval: percentiles of `resampled`; exact and by patient where it is 0 or 1.

    The bootstrap knows no uncertainty of a perfect figure; the exact interval (Clopper, Pearson 1934) counts
    each patient as one trial, and where a figure needs several classes those of the rarest. Resamples that
    lack a class are left out. None where the figure cannot be measured. Balanced accuracy: see
    `balanced_interval`.
    """
    if np.isnan(value):
        return None
    low, high = np.nanpercentile(resampled, (2.5, 97.5))
    if key[0] not in ("calibration_error", "balanced_accuracy") and value in (0, 1):
        trials = _trials(judged, key)
        low, high = (0.025 ** (1 / trials), 1.0) if value == 1 else (0.0, 1 - 0.025 ** (1 / trials))
    return Figure(value=value, low=float(min(low, value)), high=float(max(high, value)))


def _trials(judged: Judged, key: Key) -> int:
    """Count the patients that a figure of 0 or 1 was measured on."""
    name, label = key
    if name == "accuracy":
        return len(np.unique(judged.patients))
    index = judged.labels.index(label)
    positive, called = judged.true == index, judged.decided == index
    measured_on: Mapping[str, tuple[NDArray[np.bool_], ...]] = {
        "sensitivity": (positive,),
        "sensitivity_at_threshold": (positive,),
        "specificity": (~positive,),
        "specificity_at_threshold": (~positive,),
        "ppv": (called,),
        "npv": (~called,),
        "f1": (positive | called,),
        "auroc": (positive, ~positive),
    }
    return min(len(np.unique(judged.patients[group])) for group in measured_on[name])


def balanced_interval(balanced: Figure, recalls: Sequence[Figure]) -> Figure:
    """
    Widen the interval of balanced accuracy where a class's sensitivity is 0 or 1.

    There the bootstrap sees no spread, however few patients the class has. The mean's interval is then made
    from those of the sensitivities, which are exact there: distances to the ends add as squares (Zou, Donner,
    Statistics in Medicine 27, 2008).
    """
    if all(0 < recall.value < 1 for recall in recalls):
        return balanced
    down = np.sqrt(sum((recall.value - recall.low) ** 2 for recall in recalls)) / len(recalls)
    up = np.sqrt(sum((recall.high - recall.value) ** 2 for recall in recalls)) / len(recalls)
    return Figure(
        value=balanced.value,
        low=float(max(0.0, balanced.value - down)),
        high=float(min(1.0, balanced.value + up)),
    )
