"""When each object of ours was made: this outlives its rows.

A study may come again after retention deleted its rows. It is read again, and where model and settings are
the same its objects get the same UIDs: then they must be the same objects, byte for byte, with the time of
the first making in them. An archive may refuse another content under a UID that it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.tables import made, result

__all__ = ["first_made", "record_made"]


def record_made(connection: sa.Connection, sop_instance_uids: Sequence[str], at: float) -> None:
    """Record that objects were made with the time `at` in them; what is known already stays."""
    for uid in sop_instance_uids:
        row = insert_into(connection, made).values(sop_instance_uid=uid, at=at)
        connection.execute(row.on_conflict_do_nothing())


def first_made(connection: sa.Connection, sop_instance_uids: Sequence[str]) -> float | None:
    """When objects of these UIDs were made whose rows are gone, seconds since the epoch; None for no such."""
    forgotten = made.c.sop_instance_uid.in_(sop_instance_uids) & made.c.sop_instance_uid.not_in(
        sa.select(result.c.sop_instance_uid).where(result.c.sop_instance_uid.in_(sop_instance_uids))
    )
    return connection.execute(sa.select(sa.func.max(made.c.at)).where(forgotten)).scalar()
