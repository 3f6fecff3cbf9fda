"""What the ledger knows of the comparisons: outcomes, names of attributes and times, and no value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from pydicom.datadict import dictionary_description

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.order_check.comparison import Comparison, Outcome
from cxr_pacs.gateway.tables import instance, order_check, order_release

__all__ = [
    "is_released",
    "named",
    "order_files",
    "order_story",
    "record_check",
    "record_release",
    "silent_since",
]


def silent_since(connection: sa.Connection, instance_id: int, now: float) -> float:
    """Since when the worklist has not answered about this image, seconds since the epoch; now at first."""
    values = {"outcome": None, "differs": None, "file": None, "at": now}
    row = insert_into(connection, order_check).values(instance_id=instance_id, **values)
    # What is decided is of an earlier reading; what is later than now, of before the clock was set back.
    anew = order_check.c.outcome.is_not(None) | (order_check.c.at > now)
    begun = row.on_conflict_do_update(index_elements=[order_check.c.instance_id], set_=values, where=anew)
    connection.execute(begun)
    query = sa.select(order_check.c.at).where(order_check.c.instance_id == instance_id)
    return float(connection.execute(query).scalar_one())


def record_check(
    connection: sa.Connection, instance_id: int, comparison: Comparison | None, file: str | None, now: float
) -> None:
    """Record what came of the comparison; None where no worklist was to be asked.

    Parameters
    ----------
    file : str or None
        Of the spool, with what the order says of the request.
    now : float
        Seconds since the epoch.
    """
    connection.execute(sa.delete(order_check).where(order_check.c.instance_id == instance_id))
    if comparison is not None:
        values = {"outcome": comparison.outcome, "differs": list(comparison.differs), "file": file, "at": now}
        connection.execute(sa.insert(order_check).values(instance_id=instance_id, **values))


def order_files(connection: sa.Connection, instance_ids: Iterable[int]) -> Mapping[int, str]:
    """Files with what the orders say of the requests of these images.

    None where one of the images was released although it contradicts its order: a report of them refers to no
    order at all, since it might be that one.
    """
    rows = connection.execute(sa.select(order_check).where(order_check.c.instance_id.in_(list(instance_ids))))
    checks = rows.all()
    if any(row.outcome == Outcome.MISMATCH for row in checks):
        return {}
    return {row.instance_id: row.file for row in checks if row.file is not None}


def record_release(connection: sa.Connection, instance_id: int, now: float) -> None:
    """Record that an image is right as it is, whatever its order says, and its step until now."""
    row = insert_into(connection, order_release).values(instance_id=instance_id, at=now)
    again = row.on_conflict_do_update(index_elements=[order_release.c.instance_id], set_={"at": now})
    connection.execute(again)


def is_released(connection: sa.Connection, instance_id: int) -> bool:
    """Whether an administrator released the image."""
    query = sa.select(order_release.c.at).where(order_release.c.instance_id == instance_id)
    return connection.execute(query).first() is not None


def named(keywords: Iterable[str]) -> str:
    """Names of attributes as the standard writes them."""
    return ", ".join(map(dictionary_description, keywords))


def order_story(connection: sa.Connection, study_id: int) -> Iterator[tuple[float, str]]:
    """Time, in seconds since the epoch, and a sentence for each image of the study that has such a story."""
    of_study = sa.select(instance.c.sop_instance_uid, order_check).join(
        order_check, order_check.c.instance_id == instance.c.id
    )
    for row in connection.execute(of_study.where(instance.c.study_id == study_id).order_by(instance.c.id)):
        yield row.at, f"Instance {row.sop_instance_uid}: {_said(row.outcome, row.differs)}"
    freed = sa.select(instance.c.sop_instance_uid, order_release.c.at).join(
        order_release, order_release.c.instance_id == instance.c.id
    )
    for row in connection.execute(freed.where(instance.c.study_id == study_id).order_by(instance.c.id)):
        yield (
            row.at,
            (
                f"Instance {row.sop_instance_uid} was released by an administrator: it is right as it is, "
                "whatever its order says."
            ),
        )


def _said(outcome: str | None, differs: Iterable[str] | None) -> str:
    match outcome:
        case Outcome.AGREES:
            return "the worklist has its order, and they agree."
        case Outcome.ABSENT:
            return "the worklist has no order of it."
        case Outcome.MISMATCH:
            return f"it contradicts its order in the worklist in {named(differs or ())}."
        case Outcome.UNASKED:
            return "the worklist could not be asked: it was not compared with any order."
        case _:
            return "since then the worklist has not answered; it is asked again."
