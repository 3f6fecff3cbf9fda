"""What is owed to destinations: our objects (work ``deliver``) and originals sent on (work ``forward``).

Both are rows of the same shape in tables of their own; the work's name is that of its workflow, too. The
documents of one kind of a study stand in line, for each may replace the one before: one has its turn, and
only then a workflow, when all before it are delivered, parked or dismissed at that destination. Who ends
one, or owes one, locks the study (`lock_study`). Pictures and originals go as they come: a heatmap for which
an archive has no room keeps no report back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.tables import delivery, forwarding, instance, result, study

__all__ = [
    "DELIVER",
    "FORWARD",
    "WORKS",
    "Owed",
    "awaited",
    "dismiss",
    "finish",
    "first_in_line",
    "get",
    "in_line",
    "owe",
    "owed",
    "parked",
    "postpone",
    "sleeping",
    "unpark",
    "waiting",
    "wake",
]

DELIVER: Final = "deliver"
FORWARD: Final = "forward"
_TABLES: Final[Mapping[str, sa.Table]] = MappingProxyType({DELIVER: delivery, FORWARD: forwarding})
WORKS: Final = tuple(_TABLES)
# The object, by the work.
_OBJECTS: Final[Mapping[str, sa.Table]] = MappingProxyType({DELIVER: result, FORWARD: instance})
# Kinds of documents: report, key object selection, report in plain sentences.
_IN_LINE: Final = frozenset({"SR", "KO", "TX"})
_COLUMNS = ("id", "destination", "state", "attempts", "created_at", "next_at", "finished_at", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One object on its way to one destination; `work` and `id` tell it from every other."""

    work: str
    id: int
    destination: str
    state: str
    attempts: int
    created_at: float
    reason: str | None
    kind: str
    file: str
    study_id: int
    study_instance_uid: str
    sop_instance_uid: str


def _object(work: str) -> sa.ColumnElement[bool]:
    table = _TABLES[work]
    return (table.c.result_id == result.c.id) if work == DELIVER else (table.c.instance_id == instance.c.id)


def _of(work: str) -> sa.Select[Any]:
    table, of = _TABLES[work], _OBJECTS[work]
    # An original has no kind of its own.
    kind = result.c.kind if work == DELIVER else sa.literal("")
    return (
        sa.select(
            sa.literal(work).label("work"),
            *(table.c[name] for name in _COLUMNS),
            kind.label("kind"),
            of.c.study_id,
            of.c.sop_instance_uid,
            of.c.file,
            study.c.study_instance_uid,
        )
        .join(of, _object(work))
        .join(study, study.c.id == of.c.study_id)
    )


# Every row of both tables.
owed = sa.union_all(*map(_of, WORKS)).subquery("owed")


def owe(connection: sa.Connection, work: str, object_id: int, destination: str, now: float) -> int | None:
    """Owe a result (`DELIVER`) or an instance (`FORWARD`) to a destination; None when it is owed already."""
    values = {
        ("result_id" if work == DELIVER else "instance_id"): object_id,
        "destination": destination,
        "state": "waiting",
        "attempts": 0,
        "created_at": now,
        "next_at": now,
    }
    table = _TABLES[work]
    statement = insert_into(connection, table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(table.c.id)).scalar()


def get(connection: sa.Connection, work: str, row_id: int) -> Owed:
    """One row, with the file to send."""
    row = connection.execute(_of(work).where(_TABLES[work].c.id == row_id)).one()
    return _row(row)


def waiting(connection: sa.Connection, work: str) -> tuple[int, ...]:
    """Ids of the rows that a workflow must still act on: those that have their turn."""
    table = _TABLES[work]
    query = sa.select(table.c.id).where(table.c.state == "waiting")
    if work == DELIVER:
        query = query.join(result, _object(work)).where(~_waits_for_another())
    return tuple(connection.execute(query).scalars())


def in_line(connection: sa.Connection, study_id: int) -> frozenset[int]:
    """Ids of the deliveries of a study that wait for another one."""
    query = sa.select(delivery.c.id).join(result, _object(DELIVER)).where(result.c.study_id == study_id)
    waits = query.where(delivery.c.state == "waiting", _waits_for_another())
    return frozenset(connection.execute(waits).scalars())


def first_in_line(connection: sa.Connection, row: Owed) -> int | None:
    """Id of the row that has its turn in the line of `row`; None where nothing of it waits any more."""
    table = _TABLES[row.work]
    waits = sa.select(table.c.id).where(table.c.destination == row.destination, table.c.state == "waiting")
    if row.kind in _IN_LINE:
        same = (result.c.study_id == row.study_id) & (result.c.kind == row.kind)
        line = waits.join(result, _object(DELIVER)).where(same)
    else:
        line = waits.where(table.c.id == row.id)
    return connection.execute(line.order_by(table.c.id).limit(1)).scalar()


def _waits_for_another() -> sa.ColumnElement[bool]:
    earlier, of_it = delivery.alias(), result.alias()
    return result.c.kind.in_(_IN_LINE) & sa.exists().where(
        of_it.c.study_id == result.c.study_id,
        of_it.c.kind == result.c.kind,
        earlier.c.result_id == of_it.c.id,
        earlier.c.destination == delivery.c.destination,
        earlier.c.state == "waiting",
        earlier.c.id < delivery.c.id,
    )


def awaited(connection: sa.Connection) -> tuple[str, ...]:
    """Destinations that something waits for, of the settings or not."""
    query = sa.select(owed.c.destination).where(owed.c.state == "waiting").distinct()
    return tuple(connection.execute(query).scalars())


def parked(connection: sa.Connection, destination: str | None, study_uid: str | None) -> tuple[Owed, ...]:
    """Give what is parked; to one destination, of one study where these are given."""
    query = sa.select(owed).where(owed.c.state == "parked")
    if destination is not None:
        query = query.where(owed.c.destination == destination)
    if study_uid is not None:
        query = query.where(owed.c.study_instance_uid == study_uid)
    return tuple(map(_row, connection.execute(query.order_by(owed.c.work, owed.c.id))))


def sleeping(
    connection: sa.Connection, destination: str, now: float, limit: int
) -> tuple[tuple[str, int], ...]:
    """Work and id of up to `limit` rows that wait for a next attempt not due yet, the oldest first."""
    found: list[tuple[str, int]] = []
    for work, table in _TABLES.items():
        waits = (table.c.destination == destination) & (table.c.state == "waiting")
        query = sa.select(table.c.id).where(waits, table.c.attempts > 0, table.c.next_at > now)
        rows = connection.execute(query.order_by(table.c.id).limit(limit)).scalars()
        found += [(work, row_id) for row_id in rows]
    return tuple(found[:limit])


def wake(connection: sa.Connection, work: str, row_id: int, now: float) -> None:
    """Record that the next attempt is due now."""
    _update(connection, work, row_id, "waiting", next_at=now)


def finish(
    connection: sa.Connection, work: str, row_id: int, *, state: str, now: float, reason: str | None
) -> None:
    """Close a row as ``delivered`` or ``parked``."""
    attempts = _TABLES[work].c.attempts + 1
    values = {"state": state, "attempts": attempts, "next_at": None, "finished_at": now, "reason": reason}
    _update(connection, work, row_id, "waiting", **values)


def postpone(
    connection: sa.Connection, work: str, row_id: int, *, attempts: int, next_at: float, reason: str
) -> None:
    """Record a failed attempt and when the next one is due."""
    _update(connection, work, row_id, "waiting", attempts=attempts, next_at=next_at, reason=reason)


def unpark(connection: sa.Connection, work: str, row_id: int, now: float) -> bool:
    """Owe what is parked anew, as if created `now` and never tried; False when it is not parked any more."""
    values = {"state": "waiting", "attempts": 0, "created_at": now, "next_at": now, "finished_at": None}
    return _update(connection, work, row_id, "parked", **values)


def dismiss(connection: sa.Connection, work: str, row_id: int, now: float) -> bool:
    """Let what is parked be, for good; False when it is not parked any more."""
    return _update(connection, work, row_id, "parked", state="dismissed", finished_at=now)


def _update(connection: sa.Connection, work: str, row_id: int, expected: str, **values: Any) -> bool:
    table = _TABLES[work]
    statement = sa.update(table).where(table.c.id == row_id, table.c.state == expected).values(**values)
    return connection.execute(statement).rowcount == 1


def _row(row: Any) -> Owed:
    return Owed(
        work=row.work,
        id=row.id,
        destination=row.destination,
        state=row.state,
        attempts=row.attempts,
        kind=row.kind,
        created_at=row.created_at,
        reason=row.reason,
        file=row.file,
        study_id=row.study_id,
        study_instance_uid=row.study_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
    )
