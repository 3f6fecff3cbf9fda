"""Telling peers: performed procedure steps are sent on, and the availability of results is notified.

::

    N-CREATE, N-SET ─▶ tell(message), for each operation and each peer, in order
    deliver ─────────▶ tell(message), when nothing of a study is on its way to a destination any more
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from itertools import groupby

import sqlalchemy as sa
from pydicom import Dataset, dcmread

from cxr_pacs import dimse
from cxr_pacs.dimse.mpps_attributes import NO_LONGER_UPDATED
from cxr_pacs.dimse.normalized import DUPLICATE_INSTANCE
from cxr_pacs.errors import CxrPacsError, PermanentError, RefusedOperation, kind_and_place
from cxr_pacs.gateway import messages
from cxr_pacs.gateway.delivery import backoff
from cxr_pacs.gateway.messages import Message
from cxr_pacs.gateway.owed import DELIVER, Owed
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.tables import announced, delivery, result
from cxr_pacs.settings import DicomDestination, Settings
from cxr_pacs.worklist.performed import keep_operation, lock_step, operations, step_uid, steps_of_study

__all__ = ["TOLD_AT_ONCE", "Telling", "peers_told"]

logger = logging.getLogger(__name__)

# To each peer.
TOLD_AT_ONCE = 2


def peers_told(settings: Settings) -> dict[tuple[str, str], dimse.Peer]:
    """Who is told what: each peer by the kind of message and its name in the settings."""
    steps = {
        (messages.STEP, one.name): dimse.Peer(ae_title=one.ae_title, host=one.host, port=one.port)
        for one in settings.mpps_destination
    }
    notified = {
        (messages.AVAILABILITY, one.name): dimse.Peer(
            ae_title=one.notify.ae_title, host=one.notify.host, port=one.notify.port
        )
        for one in settings.destination
        if isinstance(one, DicomDestination) and one.notify is not None
    }
    return steps | notified


class Telling:
    """Owes messages to peers, and sends them.

    Parameters
    ----------
    site : Site
        Who is told, the pace of retries, and where the workflow `tell` is put.
    """

    def __init__(self, site: Site) -> None:
        self._settings = site.settings
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._peers = peers_told(site.settings)
        self._retrieve = {
            one.name: one.ae_title for one in site.settings.destination if isinstance(one, DicomDestination)
        }

    # -- owing --

    def owe_operation(self, connection: sa.Connection, step_id: int, attributes: Dataset) -> None:
        """Send an operation on a performed procedure step on, in the transaction that records it."""
        names = [name for kind, name in self._peers if kind == messages.STEP]
        if not names:
            return
        # No N-SET has that (PS3.4 Table F.7.2-1).
        begins = "ScheduledStepAttributesSequence" in attributes
        operation = keep_operation(connection, step_id, attributes)
        line, now = step_uid(connection, step_id), self._clock()
        for name in names:
            first = messages.beginning(connection, name, line)
            if not begins and (first is None or first.state == "dismissed"):
                continue  # the peer was never told that the step began
            row_id = messages.add(connection, messages.STEP, name, line, now, operation=operation)
            self._enqueue_if_first(connection, messages.get(connection, row_id))

    def owe_availability(self, connection: sa.Connection, row: Owed) -> None:
        """Notify of what a destination took, once nothing of the study is on its way there any more."""
        if row.work != DELIVER or (messages.AVAILABILITY, row.destination) not in self._peers:
            return
        lock_study(connection, row.study_id)  # or two deliveries that end at once do not see each other
        of_it = (
            sa.select(delivery.c.id, delivery.c.state, result.c.sop_instance_uid)
            .join(result, result.c.id == delivery.c.result_id)
            .where(result.c.study_id == row.study_id, delivery.c.destination == row.destination)
            .where(delivery.c.id.not_in(sa.select(announced.c.delivery_id)))
            .order_by(delivery.c.id)
        )
        found = connection.execute(of_it).all()
        taken = [one for one in found if one.state == "delivered"]
        if not taken or any(one.state == "waiting" for one in found):
            return
        line = self._uid(row.destination, [one.sop_instance_uid for one in taken])
        row_id = messages.add(
            connection,
            messages.AVAILABILITY,
            row.destination,
            line,
            self._clock(),
            study_id=row.study_id,
        )
        rows = [{"delivery_id": one.id, "message_id": row_id} for one in taken]
        connection.execute(sa.insert(announced), rows)
        self._enqueue_if_first(connection, messages.get(connection, row_id))

    def _uid(self, destination: str, instances: list[str]) -> str:
        """SOP Instance UID of a notification, the same for the same content."""
        content = "|".join((destination, "availability", *sorted(instances)))
        return f"2.25.{uuid.uuid5(self._settings.site.uid_namespace, content).int}"

    def _enqueue_if_first(self, connection: sa.Connection, row: Message) -> None:
        first = messages.head(connection, row.peer, row.line)
        if first is not None and first.id == row.id:
            attempt = self._queue.attempts(messages.TELL, row.id) + 1
            self._queue.enqueue(connection, messages.TELL, row.id, attempt, partition=row.peer)

    # -- sending --

    def tell(self, row_id: int, attempt: int) -> str:
        """Workflow: one attempt to send a message; the next of its line follows when the peer took it."""
        with self._ledger.begin() as connection:
            row = messages.begin(connection, row_id)
        if row.state != "waiting":
            return row.state
        reason = None
        try:
            self._send(row)
            state = "delivered"
        except PermanentError as error:
            state, reason = "parked", str(error)
            with self._ledger.begin() as connection:
                messages.not_taken(connection, row)
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the message is not lost
            reason = str(error) if isinstance(error, CxrPacsError) else kind_and_place(error)
            state = "waiting"
        now, attempts = self._clock(), row.attempts + 1
        if state == "waiting" and now - row.created_at > self._settings.delivery.give_up_after:
            state, reason = "parked", f"given up after {attempts} attempts; the last: {reason}"
        log = logger.info if state == "delivered" else logger.warning
        log(
            "message %d (%s) to %s, attempt %d: %s %s",
            row_id,
            row.kind,
            row.peer,
            attempts,
            state,
            reason or "",
        )
        self._record(row, attempt, state, reason)
        return state

    def _record(self, row: Message, attempt: int, state: str, reason: str | None) -> None:
        now = self._clock()
        with self._ledger.begin() as connection:
            lock_step(connection, row.line)  # whose next operation is perhaps owed now
            if state == "waiting":
                attempts = row.attempts + 1
                delay = backoff(self._settings.delivery, attempts)
                messages.postpone(
                    connection, row.id, attempts=attempts, next_at=now + delay, reason=str(reason)
                )
                self._queue.enqueue(
                    connection, messages.TELL, row.id, attempt + 1, delay=delay, partition=row.peer
                )
                return
            messages.finish(connection, row.id, state=state, now=now, reason=reason)
            following = messages.head(connection, row.peer, row.line)
            if state == "delivered" and following is not None:
                self._enqueue_if_first(connection, following)
            asleep = (
                messages.sleeping(connection, row.peer, now, TOLD_AT_ONCE) if state == "delivered" else ()
            )
        for row_id in asleep:  # the peer is back
            self._queue.hasten(messages.TELL, row_id, 0.0)

    def _send(self, row: Message) -> None:
        peer = self._peers.get((row.kind, row.peer))
        if peer is None:
            raise PermanentError(f"{row.peer} is not to be told any more, as the settings are")
        try:
            self._action(row)(peer)
        except RefusedOperation as error:
            if not _is_done(row, error):
                raise

    def _action(self, row: Message) -> Callable[[dimse.Peer], int]:
        calling = self._settings.dicom.ae_title
        with self._ledger.begin() as connection:
            if row.kind == messages.AVAILABILITY:
                availability = self._availability(connection, row)
                return lambda peer: dimse.notify_availability(calling, peer, row.line, availability)
            attributes = operations(connection, row.line)[row.operation or 0]
        send = dimse.set_step if row.operation else dimse.create_step
        return lambda peer: send(calling, peer, row.line, attributes)

    def _availability(self, connection: sa.Connection, row: Message) -> dimse.Availability:
        query = (
            sa.select(result.c.file)
            .join(delivery, delivery.c.result_id == result.c.id)
            .join(announced, announced.c.delivery_id == delivery.c.id)
            .where(announced.c.message_id == row.id)
            .order_by(result.c.id)
        )
        tags = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
        headers = [
            dcmread(self._spool.path(file), stop_before_pixels=True, specific_tags=tags)
            for file in connection.execute(query).scalars()
        ]
        headers.sort(key=lambda one: str(one.SeriesInstanceUID))
        steps = steps_of_study(connection, str(row.study_instance_uid))
        return dimse.Availability(
            study_instance_uid=str(row.study_instance_uid),
            series={
                uid: [
                    dimse.ObjectReference(
                        sop_class_uid=str(one.SOPClassUID), sop_instance_uid=str(one.SOPInstanceUID)
                    )
                    for one in all_of
                ]
                for uid, all_of in groupby(headers, lambda one: str(one.SeriesInstanceUID))
            },
            retrieve_ae_title=self._retrieve[row.peer],
            # One alone can be named (PS3.3 C.4.23).
            performed_step_uid=steps[0].sop_instance_uid if len(steps) == 1 else None,
        )


def _is_done(row: Message, refused: RefusedOperation) -> bool:
    """Whether a refusal means that the peer took the message before, and only its answer was lost."""
    if refused.status == DUPLICATE_INSTANCE:
        return row.tried or row.kind == messages.AVAILABILITY  # whose UID follows from its content
    return row.tried and refused.error_id == NO_LONGER_UPDATED
