"""What a manifest holds, and everything that is wrong with it, line by line."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.corpus import Film, Problem
from training.duplicates import find_duplicates
from training.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.corpus import Scan

__all__ = ["Group", "Survey", "survey"]

_COHORTS = ("adult", "adult?", "paediatric")
_MAJORITY = 18.0

_Line = tuple[int, Film]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Films of one class, source and split."""

    label: str
    source: str
    split: str
    images: int
    patients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that can be said of a manifest without a model.

    Attributes
    ----------
    groups : tuple of Group
        Sorted by class, source and split; only those that have a film.
    errors : tuple of Problem
        What training or judging on these films would be misled by, sorted by line.
    remarks : tuple of Problem
        What a person should look at, sorted by line.
    """

    groups: tuple[Group, ...]
    errors: tuple[Problem, ...]
    remarks: tuple[Problem, ...]


def survey(scan: Scan) -> Survey:
    """Count the films of a scan and check each against all others."""
    lines = list(zip(scan.lines, scan.films, strict=True))
    errors = [*scan.problems, *_named_twice(lines), *_wrong_splits(lines)]
    remarks = [*_doubtful_cohorts(lines), *_blank(lines)]
    for problem, grave in _alike(lines):
        (errors if grave else remarks).append(problem)
    return Survey(
        groups=tuple(_groups(scan.films)),
        errors=tuple(sorted(errors, key=lambda problem: problem.line)),
        remarks=tuple(sorted(remarks, key=lambda problem: problem.line)),
    )


def _groups(films: Sequence[Film]) -> Iterator[Group]:
    members = defaultdict(list)
    for film in films:
        members[film.label, film.source, film.split].append(film.patient)
    for (label, source, split), patients in sorted(members.items()):
        yield Group(
            label=label, source=source, split=split, images=len(patients), patients=len(set(patients))
        )


def _named_twice(lines: Sequence[_Line]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for line, film in lines:
        if (other := first.setdefault(film.file, line)) != line:
            yield Problem(line=line, text=f"file {film.file} is named on line {other} already")


def _wrong_splits(lines: Sequence[_Line]) -> Iterator[Problem]:
    first: dict[str, _Line] = {}
    for line, film in lines:
        if film.split not in SPLITS:
            yield Problem(line=line, text=f"split {film.split!r} is none of {', '.join(SPLITS)}")
        other, known = first.setdefault(film.patient, (line, film))
        if known.split != film.split:
            text = f"patient is in split {film.split!r} here and in {known.split!r} on line {other}"
            yield Problem(line=line, text=text)


def _doubtful_cohorts(lines: Sequence[_Line]) -> Iterator[Problem]:
    for line, film in lines:
        if film.cohort not in _COHORTS:
            yield Problem(line=line, text=f"cohort {film.cohort!r} is none of {', '.join(_COHORTS)}")
        elif film.age is not None and (film.age >= _MAJORITY) != film.adult:
            yield Problem(line=line, text=f"age {film.age:g} does not go with cohort {film.cohort!r}")


def _blank(lines: Sequence[_Line]) -> Iterator[Problem]:
    for line, film in lines:
        if film.pixels.min() == film.pixels.max():
            yield Problem(line=line, text=f"image {film.file} shows nothing: all its pixels are the same")


def _alike(lines: Sequence[_Line]) -> Iterator[tuple[Problem, bool]]:
    """Each pair of like films as a problem of its second, and whether it is an error."""
    for pair in find_duplicates([film for _, film in lines]):
        (line, one), (again, other) = lines[pair.first], lines[pair.second]
        if one.file == other.file:
            continue
        differing = [
            what
            for what, differs in (
                ("patient", one.patient != other.patient),
                ("split", one.split != other.split),
                ("label", one.label != other.label),
            )
            if differs
        ]
        but = f" but with another {' and '.join(differing)}" if differing else ""
        text = f"shows the same picture as line {line} (correlation {pair.correlation:.3f}){but}"
        yield Problem(line=again, text=text), bool(differing)
