"""Splits by patient, and the weights by which a split is sampled."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from training.corpus import CorpusError, Film

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["SPLITS", "group_weights", "split_by_patient"]

SPLITS = ("train", "val", "test")
_SMALLEST_GROUP = 20


def split_by_patient(films: Sequence[Film]) -> dict[str, tuple[Film, ...]]:
    """
    Part the films by their split.

    Raises
    ------
    CorpusError
        A split that is unknown or empty, or a patient in more than one: scores would then flatter the model.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for film in films:
        seen[film.patient].add(film.split)
    if unknown := {film.split for film in films} - set(SPLITS):
        raise CorpusError(f"split {min(unknown)!r} is none of {', '.join(SPLITS)}")
    if leaking := sorted(patient for patient, splits in seen.items() if len(splits) > 1):
        raise CorpusError(f"{len(leaking)} patients are in several splits, the first is {leaking[0]!r}")
    parts = {name: tuple(film for film in films if film.split == name) for name in SPLITS}
    if empty := [name for name, part in parts.items() if not part]:
        raise CorpusError(f"split {empty[0]!r} has no film")
    return parts


def group_weights(films: Sequence[Film]) -> NDArray[np.float64]:
    """
    Probability of drawing each film so that each group (class and source) comes equally often.

    A class that came mostly from one source would else be learned as that source's look. A small group
    counts as `_SMALLEST_GROUP` films, so that no single film is repeated without measure.
    """
    groups = [(film.label, film.source) for film in films]
    sizes = Counter(groups)
    weights: NDArray[np.float64] = np.array([1 / max(sizes[group], _SMALLEST_GROUP) for group in groups])
    weights /= weights.sum()
    return weights
