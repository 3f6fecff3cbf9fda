"""What the ledger says for fetching: which images are known, and when an archive was last asked in full."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from cxr_pacs.gateway.tables import fetched, instance, result

__all__ = ["known_images", "last_fetch", "record_fetch"]

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
    """When the last fetch from `archive` began that got all; None before the first one."""
    return connection.execute(sa.select(fetched.c.at).where(fetched.c.archive == archive)).scalar()


def record_fetch(connection: sa.Connection, archive: str, at: float) -> None:
    """Record that a fetch from `archive`, begun at `at`, got all."""
    of_it = fetched.c.archive == archive
    if connection.execute(sa.update(fetched).where(of_it).values(at=at)).rowcount == 0:
        connection.execute(sa.insert(fetched).values(archive=archive, at=at))
