"""A day of several modalities, which examine at the same time: at a rate, or as fast as they can."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from cxr_pacs.errors import CxrPacsError
from cxr_pacs.simulator.examination import Examination, Failure, Step
from cxr_pacs.simulator.film import Film
from cxr_pacs.simulator.modality import Modality
from cxr_pacs.simulator.summary import Summary
from cxr_pacs.worklist import WorklistItem

__all__ = ["Plan", "is_broken_off", "play"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a day goes.

    Attributes
    ----------
    count : int or None
        Examine so many items at most.
    rate : float or None
        Studies begun a minute, by all modalities together; None is as fast as they can.
    at_once : int
        Examinations of one modality at the same time.
    discontinued : float
        Share of the examinations that are broken off, 0 to 1; spread evenly.
    """

    count: int | None = None
    rate: float | None = None
    at_once: int = 1
    discontinued: float = 0.0


def play(modalities: Sequence[Modality], films: Sequence[Film], plan: Plan) -> Summary:
    """Have each modality ask for its worklist and examine; every report on commitment is waited for.

    The modalities take turns; items and films go in their order.
    """
    began = time.monotonic()
    asked = [_asked(modality) for modality in modalities]
    examinations = _examined(dict(zip(modalities, (one.items for one in asked), strict=True)), films, plan)
    return Summary.of(
        examinations,
        [one.seconds for one in asked if one.seconds is not None],
        time.monotonic() - began,
        [failure for one in asked for failure in one.failures],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The answer to a modality's query; without seconds there was none."""

    items: tuple[WorklistItem, ...]
    seconds: float | None
    failures: tuple[Failure, ...]


def _asked(modality: Modality) -> _Asked:
    began = time.monotonic()
    try:
        found = modality.worklist()
        return _Asked(items=found.items, seconds=time.monotonic() - began, failures=found.failures)
    except CxrPacsError as error:
        failure = Failure(
            station_ae_title=modality.ae_title, study_instance_uid="", step=Step.WORKLIST, reason=str(error)
        )
        return _Asked(items=(), seconds=None, failures=(failure,))


def _examined(
    worklists: Mapping[Modality, Sequence[WorklistItem]], films: Sequence[Film], plan: Plan
) -> tuple[Examination, ...]:
    pause = threading.Event()
    running: list[Future[Examination]] = []
    with ExitStack() as stack:
        rooms = {
            modality: stack.enter_context(ThreadPoolExecutor(plan.at_once, modality.ae_title))
            for modality in worklists
        }
        began = time.monotonic()
        for number, (modality, item) in enumerate(islice(_in_turns(worklists), plan.count)):
            if plan.rate is not None:
                pause.wait(max(0.0, began + number * 60 / plan.rate - time.monotonic()))
            if is_broken_off(number, plan.discontinued):
                future = rooms[modality].submit(modality.break_off, item)
            else:
                future = rooms[modality].submit(modality.examine, item, films[number % len(films)])
            running.append(future)
        return tuple(future.result().settled() for future in running)


def _in_turns(
    worklists: Mapping[Modality, Sequence[WorklistItem]],
) -> Iterator[tuple[Modality, WorklistItem]]:
    taken: set[str] = set()  # an item may be scheduled for several stations
    lists = ([(modality, item) for item in items] for modality, items in worklists.items())
    for one in chain.from_iterable(zip_longest(*lists)):
        if one is not None and one[1].key not in taken:
            taken.add(one[1].key)
            yield one


def is_broken_off(number: int, share: float) -> bool:
    """Whether the examination `number`, from 0, is one of the `share` that are discontinued."""
    return int((number + 1) * share) > int(number * share)
