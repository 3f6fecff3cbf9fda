"""Queries of the ledger about messages; each runs in the caller's transaction.

A message is one operation that a peer is asked for: an N-CREATE or N-SET of a performed procedure step that
is sent on (kind ``step``), or an Instance Availability Notification (kind ``availability``). Those to one
peer of one line, the operations on one step, go one after the other: one that is parked holds up the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.tables import message, study
from cxr_pacs.worklist.performed import step_uids_of_study

__all__ = [
    "AVAILABILITY",
    "STEP",
    "TELL",
    "Message",
    "add",
    "begin",
    "beginning",
    "dismiss",
    "finish",
    "get",
    "head",
    "not_taken",
    "parked",
    "postpone",
    "sleeping",
    "unfinished",
    "unpark",
]

TELL: Final = "tell"
"""Name of the workflow and of its queue."""

STEP: Final = "step"
AVAILABILITY: Final = "availability"
_OPEN: Final = ("waiting", "parked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it stands; `operation` counts those of a line from 0."""

    id: int
    kind: str
    peer: str
    line: str
    operation: int | None
    study_id: int | None
    study_instance_uid: str | None
    tried: bool
    state: str
    attempts: int
    created_at: float
    reason: str | None

    @property
    def begins(self) -> bool:
        """Whether it is an N-CREATE, without which the peer can take no other of its line."""
        return self.operation == 0

    @property
    def what(self) -> str:
        """What it tells, for people."""
        if self.kind == AVAILABILITY:
            return f"availability of results of study {self.study_instance_uid}"
        operation = "N-SET" if self.operation else "N-CREATE"
        return f"{operation} of performed procedure step {self.line}"


def add(connection: sa.Connection, kind: str, peer: str, line: str, now: float, **of: int) -> int:
    """Owe a message to a peer; `of` gives its operation or its study_id."""
    values = {
        "kind": kind,
        "peer": peer,
        "line": line,
        "tried": False,
        "state": "waiting",
        "attempts": 0,
        "created_at": now,
        "next_at": now,
        **of,
    }
    statement = insert_into(connection, message).values(**values).returning(message.c.id)
    return int(connection.execute(statement).scalar_one())


def get(connection: sa.Connection, row_id: int) -> Message:
    """One message."""
    return _message(connection.execute(_messages().where(message.c.id == row_id)).one())


def begin(connection: sa.Connection, row_id: int) -> Message:
    """Record that a message is about to be sent; give it as it was before."""
    row = get(connection, row_id)
    connection.execute(sa.update(message).where(message.c.id == row_id).values(tried=True))
    return row


def head(connection: sa.Connection, peer: str, line: str) -> Message | None:
    """Give the message of a line that is to be sent before all others; None when all were."""
    query = _messages().where(message.c.peer == peer, message.c.line == line, message.c.state.in_(_OPEN))
    row = connection.execute(query.order_by(message.c.id).limit(1)).first()
    return None if row is None else _message(row)


def beginning(connection: sa.Connection, peer: str, line: str) -> Message | None:
    """Give the N-CREATE of a line, whatever became of it; None where the peer is not to be told of it."""
    query = _messages().where(message.c.peer == peer, message.c.line == line, message.c.operation == 0)
    row = connection.execute(query).first()
    return None if row is None else _message(row)


def unfinished(connection: sa.Connection) -> dict[str, tuple[int, ...]]:
    """Ids of the messages that the workflow must still act on, by its name."""
    heads = (
        sa.select(sa.func.min(message.c.id))
        .where(message.c.state.in_(_OPEN))
        .group_by(message.c.peer, message.c.line)
    )
    query = sa.select(message.c.id).where(message.c.state == "waiting", message.c.id.in_(heads))
    return {TELL: tuple(connection.execute(query).scalars())}


def sleeping(connection: sa.Connection, peer: str, now: float, limit: int) -> tuple[int, ...]:
    """Ids of up to `limit` messages that wait for a next attempt not due yet, the oldest first."""
    waits = (message.c.peer == peer) & (message.c.state == "waiting")
    query = sa.select(message.c.id).where(waits, message.c.attempts > 0, message.c.next_at > now)
    return tuple(connection.execute(query.order_by(message.c.id).limit(limit)).scalars())


def parked(connection: sa.Connection, peer: str | None, study_uid: str | None) -> tuple[Message, ...]:
    """Give what is parked; for one peer, about one study or a step of it where these are given."""
    query = _messages().where(message.c.state == "parked")
    if peer is not None:
        query = query.where(message.c.peer == peer)
    if study_uid is not None:
        of_steps = message.c.line.in_(step_uids_of_study(study_uid))
        query = query.where((study.c.study_instance_uid == study_uid) | of_steps)
    return tuple(map(_message, connection.execute(query.order_by(message.c.id))))


def not_taken(connection: sa.Connection, before: Message) -> None:
    """Record that the peer did not take what was sent since a message was as `before`."""
    _update(connection, before.id, "waiting", tried=before.tried)


def finish(connection: sa.Connection, row_id: int, *, state: str, now: float, reason: str | None) -> None:
    """Close a message as ``delivered`` or ``parked``."""
    attempts = message.c.attempts + 1
    values = {"state": state, "attempts": attempts, "next_at": None, "finished_at": now, "reason": reason}
    _update(connection, row_id, "waiting", **values)


def postpone(connection: sa.Connection, row_id: int, *, attempts: int, next_at: float, reason: str) -> None:
    """Record a failed attempt and when the next one is due."""
    _update(connection, row_id, "waiting", attempts=attempts, next_at=next_at, reason=reason)


def unpark(connection: sa.Connection, row_id: int, now: float) -> bool:
    """Owe a parked message anew, and those behind it as if new; False when it is not parked any more."""
    values = {"state": "waiting", "attempts": 0, "next_at": now, "finished_at": None}
    if not _update(connection, row_id, "parked", **values):
        return False
    _renew(connection, get(connection, row_id), now)
    return True


def dismiss(connection: sa.Connection, one: Message, now: float) -> bool:
    """Let a parked message be, and with an N-CREATE those behind it; False when it is not parked any more."""
    if not _update(connection, one.id, "parked", state="dismissed", finished_at=now):
        return False
    if one.begins:
        statement = sa.update(message).where(_waits_in_line_of(one))
        connection.execute(statement.values(state="dismissed", finished_at=now))
    else:
        _renew(connection, one, now)
    return True


def _renew(connection: sa.Connection, one: Message, now: float) -> None:
    """Let what waits in the line of a message be given up as late as what is new: it could not be sent."""
    connection.execute(sa.update(message).where(_waits_in_line_of(one)).values(created_at=now))


def _waits_in_line_of(one: Message) -> sa.ColumnElement[bool]:
    of_line = (message.c.peer == one.peer) & (message.c.line == one.line)
    return of_line & (message.c.state == "waiting")


def _messages() -> sa.Select[Any]:
    return sa.select(message, study.c.study_instance_uid).outerjoin(study)


def _update(connection: sa.Connection, row_id: int, expected: str, **values: Any) -> bool:
    statement = sa.update(message).where(message.c.id == row_id, message.c.state == expected)
    return connection.execute(statement.values(**values)).rowcount == 1


def _message(row: Any) -> Message:
    return Message(
        id=row.id,
        kind=row.kind,
        peer=row.peer,
        line=row.line,
        operation=row.operation,
        study_id=row.study_id,
        study_instance_uid=row.study_instance_uid,
        tried=row.tried,
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        reason=row.reason,
    )
