"""What an order's end, or its age, means for its worklist items: cancelled, or forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.worklist.items import NOT_BEGUN, StepState
from cxr_pacs.worklist.store import StoredItem
from cxr_pacs.worklist.tables import file, item

__all__ = ["Removed", "cancel", "forget", "forget_old"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Items that were cancelled, those that were so before, and those whose step has begun or ended."""

    cancelled: tuple[StoredItem, ...]
    before: tuple[StoredItem, ...]
    kept: tuple[StoredItem, ...]


def cancel(connection: sa.Connection, items: Iterable[StoredItem], now: float) -> Removed:
    """Bring items whose step has not begun to the state CANCELLED; `now` in seconds since the epoch."""
    cancelled: list[StoredItem] = []
    before: list[StoredItem] = []
    kept: list[StoredItem] = []
    for one in items:
        statement = sa.update(item).where(item.c.id == one.id, item.c.state.in_(NOT_BEGUN))
        if connection.execute(statement.values(state=StepState.CANCELLED, changed_at=now)).rowcount:
            cancelled.append(one)
        else:
            (before if one.state is StepState.CANCELLED else kept).append(one)
    return Removed(cancelled=tuple(cancelled), before=tuple(before), kept=tuple(kept))


def forget(connection: sa.Connection, items: Iterable[StoredItem]) -> None:
    """Delete items, whatever their state."""
    connection.execute(sa.delete(item).where(item.c.id.in_([one.id for one in items])))


def forget_old(connection: sa.Connection, before: float) -> int:
    """Delete the items that neither changed nor were scheduled since `before`, whatever their state; count.

    `before` is in seconds since the epoch. An item of the watched folder stays as long as its file is there.
    """
    # A start has no time zone: it is the site's (PS3.3 C.12.1.1.8).
    start = dt.datetime.fromtimestamp(before, tz=dt.UTC).astimezone().strftime("%Y%m%d%H%M%S%f")
    old = (item.c.changed_at <= before) & (item.c.start <= start)
    statement = sa.delete(item).where(old, item.c.key.not_in(sa.select(file.c.key)))
    return connection.execute(statement).rowcount
