"""The sweep: what no process acts on is taken up, at the start and every 20 s.

There is nothing while all goes well: outcome and next workflow are committed together. But where the failure
itself cannot be written down, as on a full disk or without a database, a workflow ends and leaves its row
unfinished; and where DBOS cannot write down that it ended, it seems to run for ever. And what waits, waits
for a time of the clock, which may be set back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import sqlalchemy as sa

from cxr_pacs.errors import kind_and_place
from cxr_pacs.gateway import commitment_ledger, failures, messages, owed
from cxr_pacs.gateway.queue import FATAL_DISPATCHES
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.tables import instance
from cxr_pacs.gateway.telling import Telling

__all__ = ["Sweep"]

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 20.0


class Sweep:
    """Looks after the unfinished rows of the ledger, in a thread of its own.

    Parameters
    ----------
    site : Site
        What is to be done, and what is being done.
    executor : str
        Under which this process executes.
    at_work : callable
        Gives the ids of the workflows that this process really executes.
    """

    def __init__(self, site: Site, executor: str, at_work: Callable[[], Collection[str]]) -> None:
        self._ledger = site.ledger
        self._queue = site.queue
        self._clock = site.clock
        self._telling = Telling(site)
        self._executor = executor
        self._at_work = at_work
        self._idle: Collection[str] = ()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Sweep once, then go on beside."""
        self.once()
        self._thread.start()

    def stop(self) -> None:
        """End; a sweep that has begun is waited for."""
        self._stopped.set()
        self._thread.join()

    def once(self) -> None:
        """Look after delays, workflows, then after rows."""
        if belated := self._queue.hasten_belated(self._clock()):
            logger.warning("the clock was set back: %d workflow(s) that waited are due now", belated)
        self._resume_what_stands_still()
        self._take_up_rows()

    def _resume_what_stands_still(self) -> None:
        """Enqueue again what is this process's and was not at work at two sweeps in succession."""
        running = self._queue.running(self._executor)
        at_work = self._at_work()
        idle = {one: queue for one, queue in running.items() if one not in at_work}
        still = {one: queue for one, queue in idle.items() if one in self._idle}
        if still:
            logger.warning("%d workflow(s) ended and seem to run: enqueued again", len(still))
            self._queue.resume(still)
        self._idle = idle.keys() - still.keys()

    def _take_up_rows(self) -> None:
        """Enqueue what was unfinished before and after a look at the live workflows that did not show it."""
        with self._ledger.begin() as connection:
            before = self._ledger.unfinished(connection)
        live = self._queue.live()
        with self._ledger.begin() as connection:
            live |= self._reported_by_others(connection, live)
            for name, row_ids in self._ledger.unfinished(connection).items():
                for row_id in sorted(set(row_ids).intersection(before[name])):
                    if (name, str(row_id)) not in live:
                        self._take_up(connection, name, row_id)

    def _run(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            try:
                self.once()
            except Exception as error:  # noqa: BLE001  top of a thread: the next sweep may succeed
                logger.warning("sweep: %s", kind_and_place(error))

    def _reported_by_others(
        self, connection: sa.Connection, live: set[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Name the report of each instance in whose study the report of any instance is live."""
        ids = [int(row) for name, row in live if name == "report"]
        studies = sa.select(instance.c.study_id).where(instance.c.id.in_(ids))
        same = sa.select(instance.c.id).where(instance.c.study_id.in_(studies))
        return {("report", str(row)) for row in connection.execute(same).scalars()}

    def _take_up(self, connection: sa.Connection, name: str, row_id: int) -> None:
        attempt = self._queue.attempts(name, row_id)
        give_up = self._fatal.get(name)
        if give_up is not None and self._queue.exhausted(name, row_id, attempt):
            reason = f"It was begun {FATAL_DISPATCHES} times, and the process ended each time."
            logger.error("%s %d: %s", name, row_id, reason)
            give_up(connection, row_id, reason)
            return
        logger.warning("%s %d has no live workflow: taken up", name, row_id)
        partition = _partition(connection, name, row_id)
        self._queue.enqueue(connection, name, row_id, attempt + 1, partition=partition)

    @property
    def _fatal(self) -> Mapping[str, Callable[[sa.Connection, int, str], None]]:
        """How to give up what the process does not survive; of an analysis see `trials`."""
        deliveries = {work: partial(self._park, work) for work in owed.WORKS}
        return {"report": self._give_up_report, messages.TELL: self._park_message, **deliveries}

    def _give_up_report(self, connection: sa.Connection, row_id: int, reason: str) -> None:
        study_id = self._ledger.instance(connection, row_id).study_id
        failures.give_up_report(self._ledger, connection, study_id, reason, self._clock())

    def _park(self, work: str, connection: sa.Connection, row_id: int, reason: str) -> None:
        owed.finish(connection, work, row_id, state="parked", now=self._clock(), reason=reason)
        self._telling.owe_availability(connection, owed.get(connection, work, row_id))

    def _park_message(self, connection: sa.Connection, row_id: int, reason: str) -> None:
        messages.finish(connection, row_id, state="parked", now=self._clock(), reason=reason)


def _partition(connection: sa.Connection, name: str, row_id: int) -> str | None:
    if name in owed.WORKS:
        return owed.get(connection, name, row_id).destination
    if name in commitment_ledger.WORKFLOWS:
        return commitment_ledger.partition(connection, name, row_id)
    if name == messages.TELL:
        return messages.get(connection, row_id).peer
    return None
