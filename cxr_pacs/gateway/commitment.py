"""Storage commitment as its user: the archive is asked to vouch for what it took (PS3.4 annex J).

::

    deliver ─▶ commit(transaction): gather ─▶ N-ACTION ─▶ … N-EVENT-REPORT ─▶ committed
                    ▲                                        │ no such instance: sent again
                    └──────── a new transaction ◀────────────┴ no report in time, a passing failure

The transaction and its UID are in the ledger before the N-ACTION leaves. A report is taken on the association
of the request or on one that the archive opens, at any time later, and as often as it comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from pydicom import dcmread

from cxr_pacs import dimse
from cxr_pacs.dimse.commitment import FAILURE_REASONS
from cxr_pacs.errors import CxrPacsError, DeliveryRefused, DestinationUnavailable, kind_and_place
from cxr_pacs.gateway import commitment_ledger as rows
from cxr_pacs.gateway.commitment_ledger import COMMIT, CommitmentRow, TransactionRow
from cxr_pacs.gateway.delivery import Courier, backoff
from cxr_pacs.gateway.owed import Owed
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.site import Site

__all__ = ["MOST_REPEATS", "CommitmentUser", "ask_again"]

logger = logging.getLogger(__name__)

# An object is named in this many transactions after its first, before it needs a person.
MOST_REPEATS = 3
_NO_SUCH_INSTANCE = 0x0112
# PS3.3 C.14.1.1: the object or its class is wrong, and stays so.
_FINAL = frozenset({0x0119, 0x0122})


class CommitmentUser:
    """The SCU: what was delivered to a destination with ``commitment = true`` is asked for.

    Parameters
    ----------
    site : Site
        Destinations, what was delivered to them, and where the workflow `commit` is put.
    """

    def __init__(self, site: Site) -> None:
        self._settings = site.settings
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._courier = Courier(site.settings)
        self._peers = {
            d.name: dimse.Peer(ae_title=d.ae_title, host=d.host, port=d.port)
            for d in site.settings.committing
        }
        # By transaction UID: set when the report came, on whatever association.
        self._reported: dict[str, threading.Event] = {}

    def owe(self, connection: sa.Connection, row: Owed) -> None:
        """Ask for an object that was just delivered, with those that follow soon, where the site wants it."""
        if row.destination not in self._peers:
            return
        header = dcmread(self._spool.path(row.file), stop_before_pixels=True, specific_tags=["SOPClassUID"])
        one = dimse.ObjectReference(
            sop_class_uid=str(header.SOPClassUID), sop_instance_uid=row.sop_instance_uid
        )
        now = self._clock()
        lock_study(connection, row.study_id)  # or two deliveries that end at once gather apart
        transaction_id = rows.gathering(connection, row.study_id, row.destination)
        if transaction_id is None:
            transaction_id = rows.add_transaction(connection, row.study_id, row.destination, "gathering", now)
            self._enqueue(connection, transaction_id, 1, row.destination, self._settings.commitment.gather)
        rows.add_object(connection, transaction_id, one, row.file, now)

    def take_report(self, report: dimse.CommitmentReport) -> bool:
        """Record what an archive vouches for, see to what it does not; False for a foreign transaction."""
        with self._ledger.begin() as connection:
            transaction = rows.transaction_of(connection, report.transaction_uid)
            if transaction is None:
                return False
            lock_study(connection, transaction.study_id)
            rows.commit(connection, transaction, report.committed, self._clock())
            failures = {one.sop_instance_uid: reason for one, reason in report.failed.items()}
            self._see_to(connection, transaction, failures)
            if not rows.open_objects(connection, transaction.id):
                rows.set_state(connection, transaction.id, "closed")
        logger.info(
            "commitment transaction %d: %s committed %d object(s), not %d",
            transaction.id,
            transaction.destination,
            len(report.committed),
            len(report.failed),
        )
        if waiting := self._reported.get(report.transaction_uid):
            waiting.set()
        return True

    def _see_to(
        self, connection: sa.Connection, transaction: TransactionRow, failures: Mapping[str, int]
    ) -> None:
        """Ask again for what failed, after sending again what the archive says that it has not."""
        again, most = [], 0
        for row in rows.open_objects(connection, transaction.id):
            code = failures.get(row.reference.sop_instance_uid)
            if code is None:
                continue
            said = f"{transaction.destination} answered {code:04X}, {FAILURE_REASONS.get(code, 'unknown')}"
            if code in _FINAL or row.repeats >= MOST_REPEATS:
                self._fail(connection, row, said)
            else:
                state = "lost" if code == _NO_SUCH_INSTANCE else row.state
                again.append((replace(row, state=state, repeats=row.repeats + 1), said))
                most = max(most, row.repeats + 1)
        if again:
            delay = backoff(self._settings.delivery, most)
            ask_again(connection, self._queue, transaction, again, now=self._clock(), delay=delay)

    def commit(self, transaction_id: int, attempt: int) -> str:
        """Workflow: ask for a transaction, or for its objects in a new one when its report is late."""
        with self._ledger.begin() as connection:
            transaction = rows.ask(connection, transaction_id)
            objects = rows.open_objects(connection, transaction_id)
            if not objects:
                rows.set_state(connection, transaction_id, "closed")
                return "closed"
        if transaction.state == "asked":
            return self._look_after(transaction, attempt)
        try:
            self._ask(transaction, objects)
        except DeliveryRefused as error:
            return self._give_up(transaction, str(error))
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the objects are not lost
            reason = str(error) if isinstance(error, CxrPacsError) else kind_and_place(error)
        else:
            return self._asked(transaction, attempt)
        if self._clock() - transaction.created_at > self._settings.delivery.give_up_after:
            return self._give_up(transaction, f"given up after {attempt} attempts; the last: {reason}")
        logger.warning("commitment transaction %d, attempt %d: %s", transaction_id, attempt, reason)
        with self._ledger.begin() as connection:
            rows.set_reason(connection, transaction_id, reason)
            delay = backoff(self._settings.delivery, attempt)
            self._enqueue(connection, transaction_id, attempt + 1, transaction.destination, delay)
        return "again"

    def _ask(self, transaction: TransactionRow, objects: Sequence[CommitmentRow]) -> None:
        peer = self._peers.get(transaction.destination)
        if peer is None:
            raise DeliveryRefused(
                f"the settings do not ask {transaction.destination} for commitment any more"
            )
        held = [row for row in objects if row.state == "waiting" or self._sent_again(transaction, row)]
        if not held:
            return
        request = dimse.CommitmentRequest(
            calling_ae_title=self._settings.dicom.ae_title,
            transaction_uid=transaction.transaction_uid,
            objects=tuple(row.reference for row in held),
        )
        reported = self._reported[transaction.transaction_uid] = threading.Event()
        try:
            with dimse.requested_commitment(peer, request, self.take_report):
                reported.wait(self._settings.commitment.wait)
        finally:
            del self._reported[transaction.transaction_uid]

    def _sent_again(self, transaction: TransactionRow, row: CommitmentRow) -> bool:
        send = self._courier.forward if self._spool.is_original(row.file) else self._courier.send
        sent = send(transaction.destination, self._spool.path(row.file))
        if sent.state == "waiting":
            raise DestinationUnavailable(str(sent.reason))
        with self._ledger.begin() as connection:
            if sent.state == "delivered":
                rows.set_found(connection, row.id)
            else:
                self._fail(connection, row, f"it was to be sent again, and {sent.reason}")
        logger.info("commitment %d: sent again, %s", row.id, sent.state)
        return sent.state == "delivered"

    def _asked(self, transaction: TransactionRow, attempt: int) -> str:
        """Look again when the report should have come."""
        with self._ledger.begin() as connection:
            lock_study(connection, transaction.study_id)
            objects = rows.open_objects(connection, transaction.id)
            if objects:
                now = self._clock()
                rows.set_state(connection, transaction.id, "asked", asked_at=now)
                self._enqueue(
                    connection, transaction.id, attempt + 1, transaction.destination, self._patience(objects)
                )
            else:
                rows.set_state(connection, transaction.id, "closed")
        return "asked"

    def _look_after(self, transaction: TransactionRow, attempt: int) -> str:
        with self._ledger.begin() as connection:
            lock_study(connection, transaction.study_id)  # the report may just come
            objects = rows.open_objects(connection, transaction.id)
            if not objects:
                rows.set_state(connection, transaction.id, "closed")
                return "closed"
            patience, now = self._patience(objects), self._clock()
            left = (transaction.asked_at or 0.0) + patience - now
            reason = f"{transaction.destination} did not report within {patience / 3600:g} h"
            if left > patience:  # the clock was set back: it has as long from now on
                rows.set_state(connection, transaction.id, "asked", asked_at=now)
                left = patience
            if left > 0:
                self._enqueue(connection, transaction.id, attempt + 1, transaction.destination, left)
                return "asked"
            again = []
            for row in objects:
                if row.repeats >= MOST_REPEATS:
                    self._fail(connection, row, reason)
                else:
                    again.append((replace(row, repeats=row.repeats + 1), reason))
            rows.set_state(connection, transaction.id, "closed")
            if again:
                ask_again(connection, self._queue, transaction, again, now=self._clock())
        logger.warning("commitment transaction %d: %s", transaction.id, reason)
        return "expired"

    def _patience(self, objects: Sequence[CommitmentRow]) -> float:
        return self._settings.commitment.report_within * 2.0 ** max(row.repeats for row in objects)

    def _give_up(self, transaction: TransactionRow, reason: str) -> str:
        with self._ledger.begin() as connection:
            lock_study(connection, transaction.study_id)
            for row in rows.open_objects(connection, transaction.id):
                self._fail(connection, row, reason)
            rows.set_state(connection, transaction.id, "closed")
        return "failed"

    def _fail(self, connection: sa.Connection, row: CommitmentRow, reason: str) -> None:
        rows.fail(connection, row.id, reason, self._clock())
        logger.error("commitment %d: %s; a person is needed", row.id, reason)

    def _enqueue(
        self, connection: sa.Connection, row_id: int, attempt: int, destination: str, delay: float
    ) -> None:
        self._queue.enqueue(connection, COMMIT, row_id, attempt, delay=delay, partition=destination)


def ask_again(
    connection: sa.Connection,
    queue: Queue,
    of: TransactionRow | tuple[int, str],
    objects: Sequence[tuple[CommitmentRow, str]],
    *,
    now: float,
    delay: float = 0.0,
) -> None:
    """Name objects in a new transaction and enqueue it.

    Parameters
    ----------
    connection : Connection
        On the ledger.
    queue : Queue
        Where the workflow is put.
    of : TransactionRow or (study id, destination)
        Whose objects they are.
    objects : sequence of (CommitmentRow, reason)
        As they then are.
    now, delay : float
        Seconds since the epoch, and until they are asked for.
    """
    study_id, destination = (of.study_id, of.destination) if isinstance(of, TransactionRow) else of
    new = rows.add_transaction(connection, study_id, destination, "asking", now)
    for row, reason in objects:
        rows.repeat(connection, new, row, reason)
    queue.enqueue(connection, COMMIT, new, 1, delay=delay, partition=destination)
