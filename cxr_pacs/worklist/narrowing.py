"""What the database can tell of a query by its indexes: of all items those that may match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from pydicom.datadict import tag_for_keyword

from cxr_pacs.worklist.conditions import AnyOf, Between, Like
from cxr_pacs.worklist.matching import START_DATE, STEPS, Key
from cxr_pacs.worklist.names import Name
from cxr_pacs.worklist.query import Query
from cxr_pacs.worklist.tables import item, name, station

__all__ = ["narrowed"]

_AFTER_ALL: Final = "\U0010ffff"
_COLUMNS: Final = {
    tag_for_keyword(keyword): column
    for keyword, column in (
        ("AccessionNumber", item.c.accession_number),
        ("PatientID", item.c.patient_id),
        ("StudyInstanceUID", item.c.study_instance_uid),
        ("PatientName", name.c.name),
        ("Modality", item.c.modality),
        ("ScheduledProcedureStepID", item.c.step_id),
        ("ScheduledStationAETitle", station.c.ae_title),
        ("ScheduledProcedureStepStartDate", item.c.start),
    )
}


def narrowed(query: Query) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions that every item fulfils which `Query.matches` accepts."""
    return tuple(_conditions(query.keys))


def _conditions(keys: tuple[Key, ...]) -> Iterator[sa.ColumnElement[bool]]:
    for key in keys:
        if key.tag == STEPS:
            if key.whole_start is not None:
                yield from _starting(key.whole_start.interval)
            yield from _conditions(key.keys or ())
        elif key.tag == START_DATE and isinstance(key.condition, Between):
            yield from _starting(key.condition)
        elif key.tag in _COLUMNS:
            column = _COLUMNS[key.tag]
            asked = _asked(column, key)
            if asked is not None:
                of_item = column.table is item
                yield asked if of_item else item.c.id.in_(sa.select(column.table.c.item_id).where(asked))


def _asked(column: sa.Column[Any], key: Key) -> sa.ColumnElement[bool] | None:
    condition = key.condition
    if isinstance(condition, Name):
        condition = next(group for group in condition.groups if group)
    if isinstance(condition, AnyOf):
        return column.in_(sorted(condition.wanted))
    if isinstance(condition, Like) and condition.prefix:
        return sa.and_(column >= condition.prefix, column < condition.prefix + _AFTER_ALL)
    return None


def _starting(interval: Between) -> Iterator[sa.ColumnElement[bool]]:
    if interval.first is not None:
        yield item.c.start >= interval.first
    if interval.last is not None:
        yield item.c.start < interval.last + _AFTER_ALL
