"""Queries of the ledger about storage commitment; each runs in the caller's transaction.

Who decides by what an object or a transaction is locks the study first (`lock_study`), then reads it: reports
come at any time, from any process.

An object of ours is ``waiting`` for the archive's word, or ``lost``, which means that the archive says it
has none and that it is sent again; in the end it is ``committed`` or ``failed``, and what failed may be
``dismissed``. The transaction in its row is the last that named it. A transaction is ``gathering`` objects,
``asking`` (persisted, and perhaps sent), ``asked`` (taken by the archive) or ``closed``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from pydicom.uid import generate_uid

from cxr_pacs.database import insert_into
from cxr_pacs.dimse import ObjectReference
from cxr_pacs.gateway.tables import commitment, commitment_request, commitment_transaction, study

__all__ = [
    "COMMIT",
    "REPORT_COMMITMENT",
    "WORKFLOWS",
    "CommitmentRow",
    "TransactionRow",
    "add_object",
    "add_transaction",
    "ask",
    "commit",
    "fail",
    "failed",
    "gathering",
    "of_failed",
    "open_objects",
    "partition",
    "repeat",
    "set_found",
    "set_reason",
    "set_state",
    "transaction_of",
    "unfinished",
]

COMMIT: Final = "commit"
REPORT_COMMITMENT: Final = "report_commitment"
# Each is partitioned by whom it speaks with.
WORKFLOWS: Final = (COMMIT, REPORT_COMMITMENT)
_OPEN = ("waiting", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRow:
    """A transaction of ours; times in seconds since the epoch."""

    id: int
    transaction_uid: str
    study_id: int
    destination: str
    state: str
    created_at: float
    asked_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRow:
    """An object of ours that an archive is to commit; `repeats` counts the transactions before this one."""

    id: int
    transaction_id: int
    reference: ObjectReference
    file: str
    state: str
    repeats: int


def gathering(connection: sa.Connection, study_id: int, destination: str) -> int | None:
    """Find the transaction that still gathers objects of a study for a destination, and hold it so."""
    query = (
        sa.select(commitment_transaction.c.id)
        .where(
            commitment_transaction.c.study_id == study_id,
            commitment_transaction.c.destination == destination,
            commitment_transaction.c.state == "gathering",
        )
        .with_for_update()
    )
    return connection.execute(query).scalars().first()


def add_transaction(
    connection: sa.Connection, study_id: int, destination: str, state: str, now: float
) -> int:
    """Begin a transaction under a new UID."""
    values = {
        "transaction_uid": str(generate_uid(prefix=None)),
        "study_id": study_id,
        "destination": destination,
        "state": state,
        "created_at": now,
    }
    statement = sa.insert(commitment_transaction).values(**values).returning(commitment_transaction.c.id)
    return int(connection.execute(statement).scalar_one())


def add_object(
    connection: sa.Connection, transaction_id: int, one: ObjectReference, file: str, now: float
) -> None:
    """Name an object that was delivered `now` in a transaction; one that is named already stays as it is."""
    of = sa.select(commitment_transaction.c.destination).where(commitment_transaction.c.id == transaction_id)
    destination = connection.execute(of).scalar_one()
    row = {
        "transaction_id": transaction_id,
        "destination": destination,
        "sop_class_uid": one.sop_class_uid,
        "sop_instance_uid": one.sop_instance_uid,
        "file": file,
        "state": "waiting",
        "repeats": 0,
        "delivered_at": now,
    }
    connection.execute(insert_into(connection, commitment).values(**row).on_conflict_do_nothing())


def ask(connection: sa.Connection, transaction_id: int) -> TransactionRow:
    """Let a transaction gather no more; the row as it then is."""
    of = commitment_transaction.c.id == transaction_id
    connection.execute(
        sa.update(commitment_transaction)
        .where(of, commitment_transaction.c.state == "gathering")
        .values(state="asking")
    )
    return _transaction_row(connection.execute(sa.select(commitment_transaction).where(of)).one())


def transaction_of(connection: sa.Connection, uid: str) -> TransactionRow | None:
    """Look up a transaction by its UID; None where it is not of ours."""
    query = sa.select(commitment_transaction).where(commitment_transaction.c.transaction_uid == uid)
    row = connection.execute(query).first()
    return None if row is None else _transaction_row(row)


def set_state(
    connection: sa.Connection, transaction_id: int, state: str, *, asked_at: float | None = None
) -> None:
    """Move a transaction that is not closed on to ``asked`` or ``closed``."""
    values = {"state": state} | ({} if asked_at is None else {"asked_at": asked_at, "reason": None})
    of = commitment_transaction.c.id == transaction_id
    connection.execute(
        sa.update(commitment_transaction)
        .where(of, commitment_transaction.c.state != "closed")
        .values(**values)
    )


def set_reason(connection: sa.Connection, transaction_id: int, reason: str) -> None:
    """Record why it could not be asked for."""
    of = commitment_transaction.c.id == transaction_id
    connection.execute(sa.update(commitment_transaction).where(of).values(reason=reason))


def open_objects(connection: sa.Connection, transaction_id: int) -> tuple[CommitmentRow, ...]:
    """List the objects of a transaction whose end is not known."""
    query = sa.select(commitment).where(
        commitment.c.transaction_id == transaction_id, commitment.c.state.in_(_OPEN)
    )
    return tuple(map(_commitment_row, connection.execute(query.order_by(commitment.c.id))))


def commit(
    connection: sa.Connection, row: TransactionRow, objects: Collection[ObjectReference], now: float
) -> None:
    """Record what the archive committed, in this transaction or, late, in an earlier one."""
    # The word of an earlier transaction does not undo that the object was found lost since.
    believed = (commitment.c.transaction_id == row.id) | (commitment.c.state == "waiting")
    for one in objects:
        connection.execute(
            sa.update(commitment)
            .where(
                commitment.c.destination == row.destination,
                commitment.c.sop_instance_uid == one.sop_instance_uid,
                commitment.c.state != "committed",
                believed,
            )
            .values(state="committed", finished_at=now, reason=None)
        )


def set_found(connection: sa.Connection, commitment_id: int) -> None:
    """Record that a lost object was sent again."""
    of = (commitment.c.id == commitment_id) & (commitment.c.state == "lost")
    connection.execute(sa.update(commitment).where(of).values(state="waiting"))


def fail(connection: sa.Connection, commitment_id: int, reason: str, now: float) -> None:
    """Close an object as ``failed``."""
    of = (commitment.c.id == commitment_id) & commitment.c.state.in_(_OPEN)
    connection.execute(sa.update(commitment).where(of).values(state="failed", reason=reason, finished_at=now))


def repeat(connection: sa.Connection, transaction_id: int, row: CommitmentRow, reason: str) -> None:
    """Move an object that is not committed to a new transaction, in the state of `row`, for `reason`."""
    connection.execute(
        sa.update(commitment)
        .where(commitment.c.id == row.id, commitment.c.state != "committed")
        .values(
            transaction_id=transaction_id,
            state=row.state,
            repeats=row.repeats,
            reason=reason,
            finished_at=None,
        )
    )


def failed(connection: sa.Connection, study_id: int, destination: str) -> tuple[CommitmentRow, ...]:
    """List the failed objects of a study at a destination."""
    of_it = of_failed(destination, None).where(commitment_transaction.c.study_id == study_id)
    return tuple(map(_commitment_row, connection.execute(of_it)))


def of_failed(destination: str | None, study_uid: str | None) -> sa.Select[Any]:
    """Rows of failed objects with their study; by one destination, of one study where these are given."""
    query = (
        sa.select(commitment, commitment_transaction.c.study_id, study.c.study_instance_uid)
        .join(commitment_transaction, commitment_transaction.c.id == commitment.c.transaction_id)
        .join(study, study.c.id == commitment_transaction.c.study_id)
        .where(commitment.c.state == "failed")
    )
    if destination is not None:
        query = query.where(commitment.c.destination == destination)
    if study_uid is not None:
        query = query.where(study.c.study_instance_uid == study_uid)
    return query.order_by(commitment.c.id)


def unfinished(connection: sa.Connection) -> dict[str, tuple[int, ...]]:
    """Ids of the rows that a workflow must still act on, by the workflow's name."""
    queries = {
        COMMIT: sa.select(commitment_transaction.c.id).where(commitment_transaction.c.state != "closed"),
        REPORT_COMMITMENT: sa.select(commitment_request.c.id).where(commitment_request.c.state == "waiting"),
    }
    return {name: tuple(connection.execute(query).scalars()) for name, query in queries.items()}


def partition(connection: sa.Connection, name: str, row_id: int) -> str:
    """Destination or modality that the workflow `name` on a row speaks with."""
    columns = {COMMIT: commitment_transaction.c.destination, REPORT_COMMITMENT: commitment_request.c.ae_title}
    column = columns[name]
    return str(connection.execute(sa.select(column).where(column.table.c.id == row_id)).scalar_one())


def _reference(row: sa.Row[tuple[object, ...]]) -> ObjectReference:
    return ObjectReference(sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid)


def _commitment_row(row: sa.Row[tuple[object, ...]]) -> CommitmentRow:
    return CommitmentRow(
        id=row.id,
        transaction_id=row.transaction_id,
        reference=_reference(row),
        file=row.file,
        state=row.state,
        repeats=row.repeats,
    )


def _transaction_row(row: sa.Row[tuple[object, ...]]) -> TransactionRow:
    return TransactionRow(
        id=row.id,
        transaction_uid=row.transaction_uid,
        study_id=row.study_id,
        destination=row.destination,
        state=row.state,
        created_at=row.created_at,
        asked_at=row.asked_at,
    )
