"""Storage commitment as its provider: modalities ask whether what they sent lies safely in the spool."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from pynetdicom.association import Association

from cxr_pacs import dimse
from cxr_pacs.errors import (
    CxrPacsError,
    DeliveryRefused,
    SpoolUnavailable,
    kind_and_place,
)
from cxr_pacs.gateway.commitment_ledger import REPORT_COMMITMENT
from cxr_pacs.gateway.delivery import backoff
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.tables import commitment_request, instance, removed, requested_object

__all__ = ["CommitmentProvider"]

logger = logging.getLogger(__name__)

# Many modalities release their association at once; a report would cross the release.
_RELEASE_SECONDS = 1.0
# PS3.3 C.14.1.1.
_NO_SUCH_INSTANCE = 0x0112
_CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A transaction of a modality, and the objects that it names."""

    id: int
    ae_title: str
    transaction_uid: str
    state: str
    received_at: float
    objects: tuple[dimse.ObjectReference, ...]


class CommitmentProvider:
    """The SCP: a request is recorded before it is answered, and reported by a workflow.

    Parameters
    ----------
    site : Site
        Where the modalities are, what came from them, and where the workflow `report_commitment` is put.
    """

    def __init__(self, site: Site) -> None:
        self._settings = site.settings
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._peers = {
            m.ae_title: dimse.Peer(ae_title=m.ae_title, host=m.host, port=m.port)
            for m in site.settings.modality
        }
        # Of requests that this process took; an association that nobody holds any more has ended.
        self._open: weakref.WeakValueDictionary[int, Association] = weakref.WeakValueDictionary()

    def take_request(self, asked: dimse.CommitmentRequest, association: Association) -> bool:
        """Record what a modality asks for and enqueue the report, in one transaction.

        The same request again is reported again; False where its UID named other objects before.

        Raises
        ------
        SpoolUnavailable
            The ledger did not take it.
        """
        try:
            with self._ledger.begin() as connection:
                request_id = _add(connection, asked, self._clock())
                if request_id is None:
                    return False
                attempt = self._queue.attempts(REPORT_COMMITMENT, request_id) + 1
                self._enqueue(connection, request_id, attempt, asked.calling_ae_title, _RELEASE_SECONDS)
        except sa.exc.SQLAlchemyError as error:
            raise SpoolUnavailable(f"the ledger did not take a row: {type(error).__name__}") from error
        self._open[request_id] = association
        logger.info(
            "commitment request %d from %s: %d object(s)",
            request_id,
            asked.calling_ae_title,
            len(asked.objects),
        )
        return True

    def report_commitment(self, request_id: int, attempt: int) -> str:
        """Workflow: report once, on the association of the request while it is open, else on a new one."""
        with self._ledger.begin() as connection:
            request = _request(connection, request_id)
        if request.state != "waiting":
            return request.state
        try:
            report = self._report(request)
            self._tell(request, report)
            state, reason = "told", None
        except DeliveryRefused as error:
            state, reason = "failed", str(error)
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the request is not lost
            reason = str(error) if isinstance(error, CxrPacsError) else kind_and_place(error)
            state = "waiting"
        now = self._clock()
        if state == "waiting" and now - request.received_at > self._settings.delivery.give_up_after:
            state, reason = "failed", f"given up after {attempt} attempts; the last: {reason}"
        log = logger.info if state == "told" else logger.warning
        log("commitment request %d of %s: %s %s", request_id, request.ae_title, state, reason or "")
        with self._ledger.begin() as connection:
            if state == "waiting":
                delay = backoff(self._settings.delivery, attempt)
                self._enqueue(connection, request_id, attempt + 1, request.ae_title, delay)
            else:
                if state == "told":
                    _set_failures(connection, request, report.failed)
                _finish(connection, request_id, state, reason, now)
        return state

    def _tell(self, request: _Request, report: dimse.CommitmentReport) -> None:
        association = self._open.pop(request.id, None)
        if association is not None and dimse.report_on(association, report):
            return
        peer = self._peers.get(request.ae_title)
        if peer is None:
            raise DeliveryRefused(
                f"the association of {request.ae_title} is not open here any more, "
                "and no [[modality]] says where it is"
            )
        dimse.report_commitment(self._settings.dicom.ae_title, peer, report)

    def _report(self, request: _Request) -> dimse.CommitmentReport:
        """Vouch for what lies in the spool under the UIDs that are asked for."""
        with self._ledger.begin() as connection:
            kept = {
                one: connection.execute(
                    sa.select(instance.c.sop_class_uid, instance.c.file).where(
                        instance.c.sop_instance_uid == one.sop_instance_uid,
                        instance.c.file.is_not(None),
                        # What is marked goes, though it may lie there still.
                        instance.c.file.not_in(sa.select(removed.c.file)),
                    )
                ).all()
                for one in request.objects
            }
        held = {
            one: {row.sop_class_uid for row in found if self._spool.path(row.file).is_file()}
            for one, found in kept.items()
        }
        return dimse.CommitmentReport(
            transaction_uid=request.transaction_uid,
            committed=tuple(one for one, classes in held.items() if one.sop_class_uid in classes),
            failed={
                one: _CLASS_INSTANCE_CONFLICT if classes else _NO_SUCH_INSTANCE
                for one, classes in held.items()
                if one.sop_class_uid not in classes
            },
        )

    def _enqueue(
        self, connection: sa.Connection, row_id: int, attempt: int, ae_title: str, delay: float
    ) -> None:
        self._queue.enqueue(connection, REPORT_COMMITMENT, row_id, attempt, delay=delay, partition=ae_title)


def _add(connection: sa.Connection, asked: dimse.CommitmentRequest, now: float) -> int | None:
    """Record a request, anew if it came before; None where its UID named other objects then."""
    known = connection.execute(
        sa.select(commitment_request.c.id).where(
            commitment_request.c.ae_title == asked.calling_ae_title,
            commitment_request.c.transaction_uid == asked.transaction_uid,
        )
    ).scalar()
    values = {"state": "waiting", "received_at": now, "finished_at": None, "reason": None}
    if known is not None:
        if set(_request(connection, known).objects) != set(asked.objects):
            return None
        of = commitment_request.c.id == known
        connection.execute(sa.update(commitment_request).where(of).values(**values))
        return int(known)
    values |= {"ae_title": asked.calling_ae_title, "transaction_uid": asked.transaction_uid}
    statement = sa.insert(commitment_request).values(**values).returning(commitment_request.c.id)
    new = int(connection.execute(statement).scalar_one())
    objects = [
        {"request_id": new, "sop_class_uid": one.sop_class_uid, "sop_instance_uid": one.sop_instance_uid}
        for one in asked.objects
    ]
    connection.execute(sa.insert(requested_object), objects)
    return new


def _request(connection: sa.Connection, request_id: int) -> _Request:
    row = connection.execute(sa.select(commitment_request).where(commitment_request.c.id == request_id)).one()
    query = sa.select(requested_object).where(requested_object.c.request_id == request_id)
    return _Request(
        id=row.id,
        ae_title=row.ae_title,
        transaction_uid=row.transaction_uid,
        state=row.state,
        received_at=row.received_at,
        objects=tuple(
            dimse.ObjectReference(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
            for one in connection.execute(query.order_by(requested_object.c.id))
        ),
    )


def _set_failures(
    connection: sa.Connection, request: _Request, failures: Mapping[dimse.ObjectReference, int]
) -> None:
    """Record what the modality was told of each object."""
    for one in request.objects:
        connection.execute(
            sa.update(requested_object)
            .where(
                requested_object.c.request_id == request.id,
                requested_object.c.sop_class_uid == one.sop_class_uid,
                requested_object.c.sop_instance_uid == one.sop_instance_uid,
            )
            .values(failure=failures.get(one))
        )


def _finish(connection: sa.Connection, request_id: int, state: str, reason: str | None, now: float) -> None:
    of = (commitment_request.c.id == request_id) & (commitment_request.c.state == "waiting")
    values = {"state": state, "reason": reason, "finished_at": now}
    connection.execute(sa.update(commitment_request).where(of).values(**values))
