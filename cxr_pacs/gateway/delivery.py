"""Delivery: one attempt to bring one object to one destination, and when to try again."""

from __future__ import annotations

import logging
import operator
import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable, kind_and_place
from cxr_pacs.gateway import owed
from cxr_pacs.gateway.destinations import Destination, destinations
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.site import Site
from cxr_pacs.sending import PaceSettings
from cxr_pacs.settings import DeliverySettings, Settings

__all__ = ["Attempt", "Courier", "Deliveries", "backoff"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt ended: ``delivered``, ``parked`` or, to be repeated, ``waiting``; with the reason."""

    state: str
    reason: str | None


class Courier:
    """Sends objects to the destinations of the settings.

    Parameters
    ----------
    settings : Settings
        Our AE title and the destinations.
    """

    def __init__(self, settings: Settings) -> None:
        self._destinations = destinations(settings)

    def knows(self, destination: str) -> bool:
        """Whether the settings have it."""
        return destination in self._destinations

    def send(self, destination: str, path: Path) -> Attempt:
        """Try once to send an object of ours; "delivered" only on the peer's own success or warning."""
        return self._attempt(destination, operator.methodcaller("send", path))

    def forward(self, destination: str, path: Path) -> Attempt:
        """Try once to send an original on, as `send`."""
        return self._attempt(destination, operator.methodcaller("forward", path))

    def _attempt(self, destination: str, action: Callable[[Destination], None]) -> Attempt:
        one = self._destinations.get(destination)
        if one is None:
            return Attempt(state="parked", reason=f"{destination} is no longer in the settings")
        try:
            action(one)
        except DestinationUnavailable as error:
            return Attempt(state="waiting", reason=str(error))
        except DeliveryRefused as error:
            return Attempt(state="parked", reason=str(error))
        return Attempt(state="delivered", reason=None)


class Deliveries:
    """The workflows that bring what is owed to its destination.

    Parameters
    ----------
    site : Site
        Destinations, the pace of retries, what is owed, and the queue of attempts.
    on_end : callable
        Gets (connection, row, state) of what was ``delivered`` or ``parked``, in the transaction that records
        it.
    """

    def __init__(self, site: Site, on_end: Callable[[sa.Connection, owed.Owed, str], None]) -> None:
        self._pace = site.settings.delivery
        self._paces = {one.name: one.pace for one in site.settings.destination}
        self._doors = {name: threading.BoundedSemaphore(pace.at_once) for name, pace in self._paces.items()}
        self._courier = Courier(site.settings)
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._on_end = on_end
        # Where something may wait out a back-off: after a start nobody knows.
        self._missed = {destination.name for destination in site.settings.destination}

    @property
    def at_once(self) -> int:
        """How many are sent at once to that destination that takes most."""
        return max((pace.at_once for pace in self._paces.values()), default=PaceSettings().at_once)

    def start(self) -> None:
        """Begin to park what waits for destinations that the settings have no longer."""
        with self._ledger.begin() as connection:
            waiting = owed.awaited(connection)
        for destination in waiting:
            if not self._courier.knows(destination):
                self.hasten(destination)

    def deliver(self, row_id: int, attempt: int) -> str:
        """Workflow: one attempt to send an object of ours."""
        return self._try(owed.DELIVER, self._courier.send, row_id, attempt)

    def forward(self, row_id: int, attempt: int) -> str:
        """Workflow: one attempt to send an original on."""
        return self._try(owed.FORWARD, self._courier.forward, row_id, attempt)

    def _try(self, work: str, send: Callable[[str, Path], Attempt], row_id: int, attempt: int) -> str:
        """Try once, in turn; `attempt` only tells workflows apart, the ledger counts since it was owed."""
        with self._ledger.begin() as connection:
            row = owed.get(connection, work, row_id)
            first = owed.first_in_line(connection, row)
        if row.state != "waiting":
            return row.state
        if first != row_id:
            return "in line"  # it has another workflow when its turn has come
        try:
            with self._doors.get(row.destination, nullcontext()):
                outcome = send(row.destination, self._spool.path(row.file))
            state, reason = outcome.state, outcome.reason
            answered = state != "waiting"
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the object is not lost
            reason = kind_and_place(error)
            state, answered = "waiting", False
        now, attempts, pace = self._clock(), row.attempts + 1, self._pace_of(row.destination)
        if state == "waiting" and now - row.created_at > pace.give_up_after:
            state, reason = "parked", f"given up after {attempts} attempts; the last: {reason}"
        log = logger.info if state == "delivered" else logger.warning
        said = f"{state}: {reason}" if reason else state
        log("%s %d to %s, attempt %d: %s", work, row_id, row.destination, attempts, said)
        with self._ledger.begin() as connection:
            if state == "waiting":
                delay = backoff(pace, attempts)
                owed.postpone(
                    connection, work, row_id, attempts=attempts, next_at=now + delay, reason=str(reason)
                )
                self._queue.enqueue(
                    connection, work, row_id, attempt + 1, delay=delay, partition=row.destination
                )
            else:
                lock_study(connection, row.study_id)  # of which something may be owed now
                owed.finish(connection, work, row_id, state=state, now=now, reason=reason)
                self._on_end(connection, row, state)
                if (following := owed.first_in_line(connection, row)) is not None:
                    number = self._queue.attempts(work, following) + 1
                    self._queue.enqueue(connection, work, following, number, partition=row.destination)
        if state == "waiting":
            self._missed.add(row.destination)
        elif answered and row.destination in self._missed:
            self.hasten(row.destination)
        return state

    def hasten(self, destination: str) -> None:
        """Try some of what waits out its back-off: the peer answers again, took an object or refused one.

        Each of them that is taken or refused hastens more, so that a backlog drains at full speed once its
        destination is back, and does not wait for its longest retry; or, where it was taken out of the
        settings, is parked at once.
        """
        now = self._clock()
        self._missed.discard(destination)
        with self._ledger.begin() as connection:
            some = self._paces.get(destination, PaceSettings()).at_once
            asleep = owed.sleeping(connection, destination, now, some)
            for work, row_id in asleep:
                owed.wake(connection, work, row_id, now)
        for work, row_id in asleep:
            self._missed.add(destination)
            self._queue.hasten(work, row_id, 0.0)

    def _pace_of(self, destination: str) -> DeliverySettings:
        return self._paces.get(destination, PaceSettings()).of(self._pace)


def backoff(settings: DeliverySettings, attempts: int) -> float:
    """Seconds to wait after `attempts` failed ones: doubled each time, with up to 10 % added at random."""
    wait = min(settings.first_retry * 2.0 ** min(attempts - 1, 60), settings.longest_retry)
    return wait * (1.0 + 0.1 * random.random())  # noqa: S311  jitter, not a secret
