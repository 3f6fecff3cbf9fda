"""Retention: what may be deleted, and when. Nothing that is not done, nor what the site did not ask for.

A study that nothing holds back (`holding_back`) loses its files, and later its rows, so many days after its
last activity: its files are first marked as removed in the ledger, and whatever reads takes them as gone. On
the disk goes what is marked, and what else no row names but for originals, once nobody has written it for as
long. So the ledger never names a file that is not there, any step may fail or be done twice, and what a
killed process left half written goes, too. A study is marked or forgotten under a lock that its arriving
instances wait for; several processes may do this at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import one_at_a_time
from cxr_pacs.errors import kind_and_place
from cxr_pacs.gateway.messages import STEP
from cxr_pacs.gateway.owed import owed
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import (
    commitment,
    commitment_request,
    commitment_transaction,
    instance,
    message,
    metadata,
    order_check,
    removed,
    requested_object,
    rerun,
    result,
    study,
)
from cxr_pacs.worklist.performed import forget_steps
from cxr_pacs.worklist.removal import forget_old
from cxr_pacs.worklist.tables import performed_step

__all__ = ["Retention", "due", "holding_back", "settled"]

logger = logging.getLogger(__name__)

DAY: Final = 86400.0
RETENTION_SECONDS: Final = 3600.0
# What DBOS keeps of workflows that ended is read by nobody.
WORKFLOW_SECONDS: Final = 3600.0
# Studies, or files, in one transaction.
_AT_ONCE: Final = 200

_NAMED = sa.union_all(
    sa.select(instance.c.study_id, instance.c.file).where(instance.c.file.is_not(None)),
    sa.select(result.c.study_id, result.c.file),
    sa.select(instance.c.study_id, order_check.c.file).where(
        order_check.c.instance_id == instance.c.id, order_check.c.file.is_not(None)
    ),
).subquery()
_UNMARKED = sa.select(_NAMED).where(_NAMED.c.file.not_in(sa.select(removed.c.file))).subquery()
_COMMITMENTS = sa.select(commitment_transaction.c.study_id).join(
    commitment, commitment.c.transaction_id == commitment_transaction.c.id
)
_REQUESTS = (
    sa.select(instance.c.study_id)
    .join(requested_object, requested_object.c.sop_instance_uid == instance.c.sop_instance_uid)
    .join(commitment_request, commitment_request.c.id == requested_object.c.request_id)
    .where(instance.c.study_id.is_not(None))
)


def settled() -> sa.ColumnElement[bool]:
    """Whether a held instance needs nobody any more: other content of it came later, and was accepted."""
    other = instance.alias()
    return sa.exists().where(
        other.c.sop_instance_uid == instance.c.sop_instance_uid,
        other.c.id > instance.c.id,
        other.c.decision == "accept",
    )


def holding_back() -> dict[str, sa.Select[Any]]:
    """By the reason, the ids of the studies of which nothing may be deleted."""
    kept = sa.select(instance.c.study_id).where(instance.c.study_id.is_not(None))
    return {
        "an instance waits for its analysis": kept.where(instance.c.decision.is_(None)),
        "an instance waits for its report": kept.where(
            instance.c.decision == "accept", instance.c.reported.is_(False)
        ),
        "an instance is held, and no other content of it was accepted later": kept.where(
            instance.c.decision == "hold", ~settled()
        ),
        "its report could not be built": sa.select(study.c.id).where(study.c.problem.is_not(None)),
        "somebody asked to read it again": sa.select(rerun.c.study_id).where(rerun.c.done_at.is_(None)),
        "an object or an original is owed to a destination": sa.select(owed.c.study_id).where(
            owed.c.state.in_(("waiting", "parked"))
        ),
        "a destination did not commit what it was asked to": _COMMITMENTS.where(
            commitment.c.state.in_(("waiting", "lost", "failed"))
        ),
        "a peer is to be told of it": sa.select(message.c.study_id).where(
            message.c.state.in_(("waiting", "parked")), message.c.study_id.is_not(None)
        ),
        "a modality waits for our commitment": _REQUESTS.where(commitment_request.c.state == "waiting"),
    }


def due(before: float) -> sa.Select[Any]:
    """Ids of studies without activity since `before` (seconds since the epoch) that nothing holds back."""
    active = (
        sa.select(instance.c.study_id).where(
            instance.c.received_at > before, instance.c.study_id.is_not(None)
        ),
        sa.select(rerun.c.study_id).where(rerun.c.done_at > before),
        sa.select(owed.c.study_id).where(owed.c.finished_at > before),
        _COMMITMENTS.where(commitment.c.finished_at > before),
        _REQUESTS.where(commitment_request.c.finished_at > before),
        sa.select(message.c.study_id).where(message.c.finished_at > before, message.c.study_id.is_not(None)),
    )
    return sa.select(study.c.id).where(
        study.c.last_arrival <= before,
        *(study.c.id.not_in(studies) for studies in (*active, *holding_back().values())),
    )


class Retention:
    """Deletes what the settings no longer want kept, in a thread of its own, at the start and every hour.

    Parameters
    ----------
    site : Site
        What is deleted from, and what it wants kept.
    """

    def __init__(self, site: Site) -> None:
        self._settings = site.settings.retention
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin at once."""
        self._thread.start()

    def stop(self) -> None:
        """End; what has begun is waited for."""
        self._stopped.set()
        self._thread.join()

    def once(self) -> None:
        """Delete all that is due now."""
        now = self._clock()
        self._queue.forget(now - WORKFLOW_SECONDS)
        if self._settings.files_days:
            before = now - self._settings.files_days * DAY
            self._mark_files(before, now)
            self._delete_files(before)
        if self._settings.rows_days:
            self._delete_rows(now - self._settings.rows_days * DAY)

    def _run(self) -> None:
        while True:
            try:
                self.once()
            except Exception as error:  # noqa: BLE001  top of a thread: the next time may succeed
                logger.warning("retention: %s", kind_and_place(error))
            if self._stopped.wait(RETENTION_SECONDS):
                return

    def _mark_files(self, before: float, now: float) -> None:
        some = due(before).where(study.c.id.in_(sa.select(_UNMARKED.c.study_id))).limit(_AT_ONCE)
        studies = [-1]
        while studies and not self._stopped.is_set():
            with self._ledger.begin() as connection:
                studies = _locked(connection, some)
                files = sa.select(_UNMARKED.c.file, sa.literal(now)).where(_UNMARKED.c.study_id.in_(studies))
                connection.execute(sa.insert(removed).from_select(["file", "at"], files))
            if studies:
                logger.info("the files of %d studies are past their retention", len(studies))

    def _delete_files(self, before: float) -> None:
        """Delete what is kept for no row and nobody has written since `before`."""
        count = 0
        for files in self._spool.folders():
            for start in range(0, len(files), _AT_ONCE):
                if self._stopped.is_set():
                    return
                some = files[start : start + _AT_ONCE]
                with self._ledger.begin() as connection:
                    kept = _kept(connection, some)
                count += sum(self._spool.remove(file, before) for file in some if file not in kept)
        if count:
            logger.info("%d file(s) were deleted from the spool", count)

    def _delete_rows(self, before: float) -> None:
        some = due(before).where(study.c.id.not_in(sa.select(_UNMARKED.c.study_id))).limit(_AT_ONCE)
        studies = [-1]
        while studies and not self._stopped.is_set():
            with self._ledger.begin() as connection:
                studies = _locked(connection, some)
                _delete_studies(connection, studies)
            if studies:
                logger.info("the rows of %d studies were deleted", len(studies))
        with self._ledger.begin() as connection:
            homeless = instance.c.study_id.is_(None) & (instance.c.received_at <= before)
            connection.execute(sa.delete(instance).where(homeless))
            ended = sa.select(commitment_request.c.id).where(commitment_request.c.finished_at <= before)
            connection.execute(sa.delete(requested_object).where(requested_object.c.request_id.in_(ended)))
            connection.execute(sa.delete(commitment_request).where(commitment_request.c.id.in_(ended)))
            _delete_steps(connection, before)
            forget_old(connection, before)


def _delete_steps(connection: sa.Connection, before: float) -> None:
    """Delete performed procedure steps without change since `before`, unless a peer is to be told of them."""
    told = sa.select(message.c.line).where(message.c.kind == STEP)
    forget_steps(connection, before, told.where(message.c.state.in_(("waiting", "parked"))))
    gone = message.c.line.not_in(sa.select(performed_step.c.sop_instance_uid))
    connection.execute(sa.delete(message).where(message.c.kind == STEP, gone))


def _locked(connection: sa.Connection, studies: sa.Select[Any]) -> list[int]:
    """Choose studies to which nothing can be added until the transaction ends."""
    one_at_a_time(connection, "retention")
    # A new row that refers to a study waits for it. What was committed meanwhile the second look sees.
    chosen = list(connection.execute(studies.with_for_update(of=study)).scalars())
    return list(connection.execute(studies.where(study.c.id.in_(chosen))).scalars())


def _kept(connection: sa.Connection, files: Sequence[str]) -> set[str]:
    """Those of the files that are not marked, and that a row names or that are originals.

    An original of which this ledger knows nothing may be known to another: the site may have changed its
    database, or lost it.
    """
    names = [PurePath(file).stem for file in files]
    named = sa.union_all(
        sa.select(instance.c.file).where(instance.c.digest.in_(names)),
        sa.select(result.c.file).where(result.c.sop_instance_uid.in_(names)),
        sa.select(order_check.c.file).where(order_check.c.file.in_(files)),
    )
    marked = sa.select(removed.c.file).where(removed.c.file.in_(files))
    kept = set(connection.execute(named).scalars()) | set(filter(Spool.is_original, files))
    return kept.difference(connection.execute(marked).scalars())


def _delete_studies(connection: sa.Connection, studies: Sequence[int]) -> None:
    """Delete the studies, and in every table what belongs to them by its foreign keys."""
    files = sa.select(_NAMED.c.file).where(_NAMED.c.study_id.in_(studies))
    connection.execute(sa.delete(removed).where(removed.c.file.in_(files)))
    for table in reversed(metadata.sorted_tables):
        belongs = _belongs(table, studies)
        if belongs is not None:
            connection.execute(sa.delete(table).where(belongs))


def _belongs(table: sa.Table, studies: Sequence[int]) -> sa.ColumnElement[bool] | None:
    if table is study:
        return study.c.id.in_(studies)
    parents = ((key, _belongs(key.column.table, studies)) for key in table.foreign_keys)
    ways = [key.parent.in_(sa.select(key.column).where(way)) for key, way in parents if way is not None]
    return sa.or_(*ways) if ways else None
