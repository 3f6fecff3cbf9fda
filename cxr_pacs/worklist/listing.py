"""Worklist items as an administrator asks for them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.worklist.items import StepState
from cxr_pacs.worklist.store import StoredItem, stored_item
from cxr_pacs.worklist.tables import item

__all__ = ["Wanted", "listed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which items; what is None or empty asks nothing.

    Attributes
    ----------
    state : StepState or None
    first_day, last_day : str
        Scheduled start, ``YYYYMMDD``, both inclusive.
    modality : str
    origin : str
        Who put them here.
    """

    state: StepState | None = None
    first_day: str = ""
    last_day: str = ""
    modality: str = ""
    origin: str = ""


def listed(connection: sa.Connection, wanted: Wanted) -> tuple[StoredItem, ...]:
    """Items in the order of their start."""
    asked: list[tuple[object, sa.ColumnElement[bool]]] = [
        (wanted.state, item.c.state == wanted.state),
        (wanted.first_day, item.c.start >= wanted.first_day),
        (wanted.last_day, item.c.start < f"{wanted.last_day}24"),  # hours end at 23
        (wanted.modality, item.c.modality == wanted.modality),
        (wanted.origin, item.c.origin == wanted.origin),
    ]
    conditions = [condition for value, condition in asked if value]
    found = connection.execute(sa.select(item).where(*conditions).order_by(item.c.start, item.c.id))
    return tuple(map(stored_item, found))
