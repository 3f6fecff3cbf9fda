"""Which films of a corpus are judged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.corpus import CorpusError
from training.splits import SPLITS, fold_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.corpus import Film

__all__ = ["JUDGED", "Chosen", "check_held_out", "choose", "films_of", "spread_evenly"]

JUDGED = ("test", "val", "train", "val+test", "all")
"""What may be judged: see `films_of`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Films to judge, those of other patients to learn from, and in words which the first ones are."""

    films: tuple[Film, ...]
    training: tuple[Film, ...]
    described: str


def choose(films: Sequence[Film], split: str, fold: str | None, seed: int) -> Chosen:
    """
    Choose by the manifest's splits, or where a fold is named by that of a cross-validation with `seed`.

    Raises
    ------
    CorpusError
        As `films_of` or `training.splits.fold_parts`.
    """
    if fold:
        parts = fold_parts(films, fold, seed)
        return Chosen(films=parts["test"], training=parts["train"], described=f"fold {fold}, seed {seed}")
    return Chosen(
        films=films_of(films, split),
        training=tuple(film for film in films if film.split == "train"),
        described="all films" if split == "all" else f"split {split}",
    )


def check_held_out(held_out: str | None, described: str) -> None:
    """
    See that a model of one fold, or of the manifest's splits, is not judged on films of another's test.

    Parameters
    ----------
    held_out : str or None
        What its bundle says was held out; None where it does not say.
    described : str
        Of `choose`.

    Raises
    ------
    CorpusError
        It was fitted to most of these films.
    """
    folded = described.startswith("fold ") or (held_out or "").startswith("fold ")
    if held_out is not None and folded and described not in (held_out, "all films"):
        raise CorpusError(
            f"the bundle was fitted with {held_out} held out: scores of {described} would flatter it; "
            "films of another manifest are judged with --split all"
        )


def films_of(films: Sequence[Film], judged: str) -> tuple[Film, ...]:
    """
    Take the films of a split, to be judged.

    Parameters
    ----------
    films : sequence of Film
    judged : str
        One of `JUDGED`: a split, two of them, or ``all``, which ignores the splits.

    Raises
    ------
    CorpusError
        There are no such films, or their patients are in other splits too.
    """
    if judged == "all":
        return tuple(films)
    wanted = judged.split("+")
    taken = tuple(film for film in films if film.split in wanted)
    if not taken:
        raise CorpusError(f"the manifest has no film of split {judged}; --split all ignores the column")
    elsewhere = {film.patient for film in films if film.split in SPLITS and film.split not in wanted}
    if leaking := [film.file for film in taken if film.patient in elsewhere]:
        raise CorpusError(
            f"patients of {len(leaking)} films of split {judged} are in another split too, the first film is "
            f"{leaking[0]}; scores would flatter the model"
        )
    return taken


def spread_evenly(films: Sequence[Film], count: int) -> tuple[Film, ...]:
    """Take `count` films, in turn from each class and source and there from each patient, in their order."""
    groups: dict[tuple[str, str], dict[str, list[Film]]] = defaultdict(lambda: defaultdict(list))
    for film in films:
        groups[film.label, film.source][film.patient].append(film)
    queues = [list(_in_turn(list(patients.values()))) for _, patients in sorted(groups.items())]
    taken = {film.file for film, _ in zip(_in_turn(queues), range(count), strict=False)}
    return tuple(film for film in films if film.file in taken)


def _in_turn(queues: Sequence[Sequence[Film]]) -> Iterator[Film]:
    for place in range(max(map(len, queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))
