"""The table of scores: all that figures are made from, with no picture in it.

It can be written to a file and read back, and tables of several models, each judged on films that it was not
fitted on, can be pooled: so cross-validation gives one report.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = [
    "ADULT_AGE",
    "Baseline",
    "Case",
    "HeadScores",
    "Model",
    "ScoreTable",
    "cases_of",
    "class_of",
    "pool",
    "read_table",
    "write_table",
]

ADULT_AGE = 18.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One film without its picture.

    Attributes
    ----------
    file, patient, label, source, cohort, view : str
        As in the manifest; cohort and view may be empty.
    age : float or None
        Years.
    """

    file: str
    patient: str
    label: str
    source: str
    cohort: str
    view: str
    age: float | None

    @property
    def group(self) -> str:
        """``adult``, another cohort of the manifest, or what the age says where it names none; else empty."""
        if self.cohort:
            return "adult" if self.cohort.startswith("adult") else self.cohort
        if self.age is None:
            return ""
        return "adult" if self.age >= ADULT_AGE else "paediatric"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadScores:
    """What one head says of every film of a table.

    Attributes
    ----------
    head : str
    labels : tuple of str
    probabilities : float64 ndarray, shape (films, labels)
        In 0..1; rows sum to 1.
    thresholds : float64 ndarray, shape (films, labels)
        Operating point that was in force for each film: in a pooled table it differs between films.
    """

    head: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """A trivial classifier's scores of the same films.

    Attributes
    ----------
    name : str
        E.g. ``thumbnail``.
    cohort : str
        The only cohort that it was fitted on; empty: on all.
    heads : tuple of HeadScores
        Only of the heads that it could be fitted for.
    """

    name: str
    cohort: str
    heads: tuple[HeadScores, ...]

    @property
    def title(self) -> str:
        """The name, and whom it was fitted on where that is not everybody."""
        return f"{self.name}, {self.cohort} only" if self.cohort else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Whose scores they are: name, version and digest of the bundle."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """The scores of a model, and of baselines, for a sequence of films.

    Attributes
    ----------
    models : tuple of Model
        One; several where tables were pooled.
    manifests : tuple of str
        SHA-256 of each manifest that named the films, and after a space which split was taken.
    cases : tuple of Case
    heads : tuple of HeadScores
        Rows in the order of `cases`.
    baselines : tuple of Baseline
    """

    models: tuple[Model, ...]
    manifests: tuple[str, ...]
    cases: tuple[Case, ...]
    heads: tuple[HeadScores, ...]
    baselines: tuple[Baseline, ...] = ()

    def head(self, name: str) -> HeadScores:
        """Pick a head's scores; KeyError when there is no such head."""
        for head in self.heads:
            if head.head == name:
                return head
        raise KeyError(name)

    def with_baselines(self, baselines: Sequence[Baseline]) -> ScoreTable:
        """Put `baselines` in place of those that are there."""
        return replace(self, baselines=tuple(baselines))


def class_of(label: str, labels: Sequence[str]) -> int | None:
    """
    Find the class that a head with `labels` should give a film labelled `label`; None: it was never asked.

    A class ``not_covid19`` holds every film that is not labelled ``covid19``.
    """
    for index, name in enumerate(labels):
        if name == label or (name.startswith("not_") and name != f"not_{label}"):
            return index
    return None


def cases_of(films: Sequence[Film]) -> tuple[Case, ...]:
    """Take what the manifest says of each film."""
    return tuple(
        Case(
            file=film.file,
            patient=film.patient,
            label=film.label,
            source=film.source,
            cohort=film.cohort,
            view=film.view,
            age=film.age,
        )
        for film in films
    )


def pool(tables: Sequence[ScoreTable]) -> ScoreTable:
    """
    Join tables of different films into one; only baselines that every table has are kept.

    Raises
    ------
    CorpusError
        The tables have different heads, or a film is in two of them.
    """
    first, *others = tables
    layout = [(head.head, head.labels) for head in first.heads]
    for table in others:
        if [(head.head, head.labels) for head in table.heads] != layout:
            raise CorpusError("the score tables have different heads or labels, so they cannot be pooled")
    cases = tuple(case for table in tables for case in table.cases)
    twice = [file for file, times in Counter(case.file for case in cases).items() if times > 1]
    if twice:
        raise CorpusError(
            f"{len(twice)} films are in two of the score tables, the first is {twice[0]}; "
            "pool tables of different films"
        )
    return ScoreTable(
        models=tuple(dict.fromkeys(model for table in tables for model in table.models)),
        manifests=tuple(dict.fromkeys(manifest for table in tables for manifest in table.manifests)),
        cases=cases,
        heads=_join([table.heads for table in tables]),
        baselines=tuple(_pooled_baselines(tables)),
    )


def _pooled_baselines(tables: Sequence[ScoreTable]) -> list[Baseline]:
    pooled = []
    for baseline in tables[0].baselines:
        same = [
            other
            for table in tables
            for other in table.baselines
            if (other.name, other.cohort) == (baseline.name, baseline.cohort)
        ]
        shared = set.intersection(*({head.head for head in other.heads} for other in same))
        heads = [tuple(head for head in other.heads if head.head in shared) for other in same]
        if len(same) == len(tables) and shared:
            pooled.append(replace(baseline, heads=_join(heads)))
    return pooled


def _join(parts: Sequence[tuple[HeadScores, ...]]) -> tuple[HeadScores, ...]:
    """Put the rows of each head one after the other."""
    return tuple(
        replace(
            same[0],
            probabilities=np.concatenate([head.probabilities for head in same]),
            thresholds=np.concatenate([head.thresholds for head in same]),
        )
        for same in zip(*parts, strict=True)
    )


def write_table(table: ScoreTable, path: Path) -> None:
    """Write `table` as NPZ: a JSON text ``table`` and the arrays that it names; no code can be in it."""
    arrays: dict[str, Any] = {}

    def keep(heads: tuple[HeadScores, ...], prefix: str) -> list[dict[str, Any]]:
        for head in heads:
            arrays[f"{prefix}/{head.head}/probabilities"] = head.probabilities
            arrays[f"{prefix}/{head.head}/thresholds"] = head.thresholds
        return [{"head": head.head, "labels": head.labels} for head in heads]

    text = {
        "models": [asdict(model) for model in table.models],
        "manifests": table.manifests,
        "cases": [asdict(case) for case in table.cases],
        "heads": keep(table.heads, "model"),
        "baselines": [
            {"name": baseline.name, "cohort": baseline.cohort, "heads": keep(baseline.heads, f"baseline-{i}")}
            for i, baseline in enumerate(table.baselines)
        ],
    }
    with path.open("wb") as stream:
        np.savez_compressed(stream, table=np.array(json.dumps(text)), **arrays)


def read_table(path: Path) -> ScoreTable:
    """
    Read what `write_table` wrote.

    Raises
    ------
    CorpusError
        The file cannot be read, or is no table of scores.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            text = json.loads(str(arrays["table"]))
            return ScoreTable(
                models=tuple(Model(**model) for model in text["models"]),
                manifests=tuple(text["manifests"]),
                cases=tuple(Case(**case) for case in text["cases"]),
                heads=_heads(text["heads"], "model", arrays),
                baselines=tuple(
                    Baseline(
                        name=entry["name"],
                        cohort=entry["cohort"],
                        heads=_heads(entry["heads"], f"baseline-{i}", arrays),
                    )
                    for i, entry in enumerate(text["baselines"])
                ),
            )
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise CorpusError(
            f"{path} is no table of scores; make one with `cxr-train evaluate --scores`"
        ) from error


def _heads(entries: list[dict[str, Any]], prefix: str, arrays: Any) -> tuple[HeadScores, ...]:
    return tuple(
        HeadScores(
            head=entry["head"],
            labels=tuple(entry["labels"]),
            probabilities=arrays[f"{prefix}/{entry['head']}/probabilities"],
            thresholds=arrays[f"{prefix}/{entry['head']}/thresholds"],
        )
        for entry in entries
    )
