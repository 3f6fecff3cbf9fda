"""What an order's end means for its worklist items: cancelled, or forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from cxr_pacs.worklist.items import StepState
from cxr_pacs.worklist.store import StoredItem
from cxr_pacs.worklist.tables import item

__all__ = ["Removed", "cancel", "forget"]

_NOT_BEGUN: Final = (StepState.SCHEDULED, StepState.ARRIVED, StepState.READY)


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
        statement = sa.update(item).where(item.c.id == one.id, item.c.state.in_(_NOT_BEGUN))
        if connection.execute(statement.values(state=StepState.CANCELLED, changed_at=now)).rowcount:
            cancelled.append(one)
        else:
            (before if one.state is StepState.CANCELLED else kept).append(one)
    return Removed(cancelled=tuple(cancelled), before=tuple(before), kept=tuple(kept))


def forget(connection: sa.Connection, items: Iterable[StoredItem]) -> None:
    """Delete items, whatever their state."""
    connection.execute(sa.delete(item).where(item.c.id.in_([one.id for one in items])))
