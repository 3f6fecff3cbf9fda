"""Splits by patient, and the weights by which a split is sampled."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from training.corpus import CorpusError, Film

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.packed import Packed

__all__ = ["SPLITS", "fold_parts", "fold_rows", "folds", "group_weights", "split_by_patient"]

SPLITS = ("train", "val", "test")
_SMALLEST_GROUP = 20


class _Member(Protocol):
    """What a split by patient looks at."""

    @property
    def patient(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    index: int
    patient: str
    label: str
    source: str


M = TypeVar("M", bound=_Member)


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
    if leaking := [film.file for film in films if len(seen[film.patient]) > 1]:
        patients = sum(len(splits) > 1 for splits in seen.values())
        raise CorpusError(f"{patients} patients are in several splits, the first film of one is {leaking[0]}")
    parts = {name: tuple(film for film in films if film.split == name) for name in SPLITS}
    if empty := [name for name, part in parts.items() if not part]:
        raise CorpusError(f"split {empty[0]!r} has no film")
    return parts


def folds(films: Sequence[M], count: int, seed: int) -> list[tuple[tuple[M, ...], tuple[M, ...]]]:
    """
    Part the films for cross-validation, a patient's all together, every class and source evenly.

    Parameters
    ----------
    films : sequence of Film
    count : int
        Number of folds, 2 or more.
    seed : int
        Equal seeds give equal folds, whatever the order of the films.

    Returns
    -------
    list of (train, test)
        Every film is in one test part, and in the training part of all other folds.

    Raises
    ------
    CorpusError
        There are fewer patients than folds.
    """
    of_patient: dict[str, list[M]] = defaultdict(list)
    for film in films:
        of_patient[film.patient].append(film)
    if count < 2 or len(of_patient) < count:
        raise CorpusError(f"{len(of_patient)} patients cannot be parted into {count} folds")
    patients = sorted(of_patient)
    np.random.default_rng(seed).shuffle(patients)
    # The largest first: what comes later evens out what they made uneven.
    patients.sort(key=lambda patient: -len(of_patient[patient]))
    counts = [Counter[tuple[str, str]]() for _ in range(count)]
    fold_of: dict[str, int] = {}
    for patient in patients:
        groups = Counter((film.label, film.source) for film in of_patient[patient])
        filled = [
            (sum(counts[fold][group] * films_of for group, films_of in groups.items()), counts[fold].total())
            for fold in range(count)
        ]
        fold_of[patient] = min(range(count), key=lambda fold: filled[fold])
        counts[fold_of[patient]] += groups
    return [
        (
            tuple(film for film in films if fold_of[film.patient] != fold),
            tuple(film for film in films if fold_of[film.patient] == fold),
        )
        for fold in range(count)
    ]


def fold_parts(films: Sequence[M], fold: str, seed: int) -> dict[str, tuple[M, ...]]:
    """
    Part the films for one turn of a cross-validation; the manifest's splits are ignored.

    Parameters
    ----------
    films : sequence of Film
    fold : str
        ``2/5``: the second of five.
    seed : int
        Of `folds`; the same in every turn, when fitting and when judging.

    Returns
    -------
    dict
        ``test``: the fold. ``val``: one part in 2 N of the other films, as evenly drawn, by patient (8 % of
        all films with five folds). ``train``: the rest.

    Raises
    ------
    CorpusError
        `fold` is written otherwise, or there are too few patients.
    """
    number, _, count = fold.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise CorpusError(f"fold {fold!r} is none: write 1/5 to 5/5 for the five of five")
    rest, test = folds(films, int(count), seed)[int(number) - 1]
    parts, patients = 2 * int(count), len({film.patient for film in rest})
    if patients < parts:
        raise CorpusError(f"{patients} patients beside fold {fold} are too few: it takes {parts}")
    train, val = folds(rest, parts, seed)[0]
    return {"train": train, "val": val, "test": test}


def fold_rows(packed: Packed, fold: str, seed: int) -> dict[str, NDArray[np.int64]]:
    """Part a packed corpus as `fold_parts` does its films: which rows are in each part."""
    rows = tuple(
        _Row(index=index, patient=str(patient), label=str(label), source=str(source))
        for index, (patient, label, source) in enumerate(
            zip(packed.patients, packed.labels, packed.sources, strict=True)
        )
    )
    parts = fold_parts(rows, fold, seed)
    return {name: np.array([row.index for row in part], np.int64) for name, part in parts.items()}


def group_weights(labels: Sequence[str], sources: Sequence[str]) -> NDArray[np.float64]:
    """
    Probability of drawing each film so that each group (class and source) comes equally often.

    A class that came mostly from one source would else be learned as that source's look. A small group
    counts as `_SMALLEST_GROUP` films, so that no single film is repeated without measure.
    """
    groups = list(zip(labels, sources, strict=True))
    sizes = Counter(groups)
    weights: NDArray[np.float64] = np.array([1 / max(sizes[group], _SMALLEST_GROUP) for group in groups])
    weights /= weights.sum()
    return weights
