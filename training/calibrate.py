"""Temperature and operating points of each head, chosen on the validation split alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["TARGET_SENSITIVITY", "OperatingPoint", "fit_temperature", "operating_point", "softmax", "truth"]

TARGET_SENSITIVITY = 0.9
_TEMPERATURES = np.geomspace(0.25, 4, 161)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A class's threshold, and in words how it was chosen."""

    threshold: float
    chosen: str


def softmax(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Scores [films, classes] of `logits` [films, classes] divided by `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def truth(labels: Sequence[str], head: Sequence[str]) -> NDArray[np.int64]:
    """Index of each label among the head's; -1 where the head does not know it."""
    return np.array([head.index(label) if label in head else -1 for label in labels], dtype=np.int64)


def fit_temperature(logits: NDArray[np.floating], true: NDArray[np.int64]) -> float:
    """Find the temperature in 0.25..4 that makes the true classes likeliest (Guo et al., ICML 2017)."""
    known = true >= 0
    picked = (np.arange(known.sum()), true[known])
    losses = [-np.log(softmax(logits[known], t)[picked] + 1e-12).mean() for t in _TEMPERATURES]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 3)


def operating_point(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> OperatingPoint:
    """
    Choose the highest threshold that still finds `TARGET_SENSITIVITY` of the positives.

    Parameters
    ----------
    scores : float64 ndarray, shape (films,)
        Of one class.
    positive : bool ndarray, shape (films,)
        Which films are of that class; at least one is.
    """
    ranked = np.sort(scores[positive])[::-1]
    needed = int(np.ceil(TARGET_SENSITIVITY * len(ranked)))
    threshold = float(np.clip(np.floor(ranked[needed - 1] * 1000) / 1000, 0.001, 0.999))
    passed = scores >= threshold
    sensitivity, specificity = passed[positive].mean(), 1 - passed[~positive].mean()
    chosen = (
        f"highest threshold with sensitivity of at least {TARGET_SENSITIVITY} on the validation films; "
        f"there sensitivity {sensitivity:.3f} of {positive.sum()}, specificity {specificity:.3f} of "
        f"{(~positive).sum()}"
    )
    return OperatingPoint(threshold=threshold, chosen=chosen)
