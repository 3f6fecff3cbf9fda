"""What the ledger says for fetching: which images are known, and how far each archive was asked."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.tables import fetched, instance, result, unfetched

__all__ = [
    "forget_unfetched",
    "known_images",
    "last_fetch",
    "record_fetch",
    "record_unfetched",
    "unfetched_since",
    "unfetched_studies",
]

# Older databases take no more than 999 parameters in one statement.
_AT_ONCE = 500


def known_images(connection: sa.Connection, sop_instance_uids: Iterable[str]) -> set[str]:
    """Those of the SOP Instance UIDs that were received before, or that are of objects made here."""
    asked = sorted(set(sop_instance_uids))
    known: set[str] = set()
    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        for table in (instance, result):
            query = sa.select(table.c.sop_instance_uid).where(table.c.sop_instance_uid.in_(some))
            known |= set(connection.execute(query).scalars())
    return known


def last_fetch(connection: sa.Connection, archive: str) -> float | None:
    """When the last fetch from `archive` began that tried all; None before the first one."""
    return connection.execute(sa.select(fetched.c.at).where(fetched.c.archive == archive)).scalar()


def record_fetch(connection: sa.Connection, archive: str, at: float) -> None:
    """Record that a fetch from `archive`, begun at `at`, tried all."""
    of_it = fetched.c.archive == archive
    if connection.execute(sa.update(fetched).where(of_it).values(at=at)).rowcount == 0:
        connection.execute(sa.insert(fetched).values(archive=archive, at=at))


def unfetched_studies(connection: sa.Connection, archive: str) -> tuple[str, ...]:
    """Study Instance UIDs of what `archive` did not give whole; what was tried last comes last."""
    query = sa.select(unfetched.c.study_instance_uid).where(unfetched.c.archive == archive)
    return tuple(connection.execute(query.order_by(unfetched.c.at, unfetched.c.since)).scalars())


def unfetched_since(connection: sa.Connection, archive: str, before: float) -> tuple[str, ...]:
    """Those of `unfetched_studies` that were first tried before `before`, seconds since the epoch."""
    old = (unfetched.c.archive == archive) & (unfetched.c.since < before)
    return tuple(connection.execute(sa.select(unfetched.c.study_instance_uid).where(old)).scalars())


def record_unfetched(connection: sa.Connection, archive: str, study_uid: str, now: float) -> None:
    """Record that `archive` was asked for a study, and did not give all of it."""
    row = {"archive": archive, "study_instance_uid": study_uid, "since": now, "at": now}
    keys = [unfetched.c.archive, unfetched.c.study_instance_uid]
    new = insert_into(connection, unfetched).values(**row)
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_={"at": now}))


def forget_unfetched(connection: sa.Connection, archive: str, study_uid: str) -> None:
    """Ask for a study no more: all of it came, or it is not there any more, or it is given up."""
    of_it = (unfetched.c.archive == archive) & (unfetched.c.study_instance_uid == study_uid)
    connection.execute(sa.delete(unfetched).where(of_it))
