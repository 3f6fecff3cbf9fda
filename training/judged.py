"""Which films of a corpus are judged."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from training.corpus import CorpusError
from training.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.corpus import Film

__all__ = ["JUDGED", "films_of", "spread_evenly"]

JUDGED = ("test", "val", "train", "val+test", "all")
"""What may be judged: see `films_of`."""


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
