"""An administrator says of a held image that it is right, whatever its order says: it is then read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.gateway.order_check.checks import RUNG
from cxr_pacs.gateway.order_check.record import record_release
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import lock_study, put_back
from cxr_pacs.gateway.tables import instance, study

__all__ = ["HeldImage", "releasable", "release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldImage:
    """An image that is held for its order or its step, and the sentence that says why."""

    id: int
    sop_instance_uid: str
    study_instance_uid: str
    reason: str


def releasable(connection: sa.Connection, uid: str) -> tuple[HeldImage, ...]:
    """List the images of a study, or the one image, named `uid`, that are held for their order."""
    query = (
        _held()
        .add_columns(study.c.study_instance_uid)
        .join(study, study.c.id == instance.c.study_id)
        .where((study.c.study_instance_uid == uid) | (instance.c.sop_instance_uid == uid))
    )
    return tuple(
        HeldImage(
            id=row.id,
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_instance_uid,
            reason=row.reason,
        )
        for row in connection.execute(query.order_by(instance.c.id))
    )


def release(connection: sa.Connection, queue: Queue, image_id: int, spool: Path, now: float) -> bool:
    """
    Record the release, and have the image read, in one transaction; False when it is held no more.

    Parameters
    ----------
    connection : Connection
        On the ledger, in a transaction.
    queue : Queue
        Of the same database.
    image_id : int
        Of a `HeldImage`.
    spool : Path
        The spool's folder.
    now : float
        Seconds since the epoch; pinned as the time of what is made.

    Raises
    ------
    CannotReadAgain
        The original is no longer in the spool.
    """
    of_image = sa.select(instance.c.study_id).where(instance.c.id == image_id)
    lock_study(connection, connection.execute(of_image).scalar_one())
    rows = connection.execute(_held().where(instance.c.id == image_id)).all()
    if not rows:
        return False
    record_release(connection, image_id, now)
    put_back(connection, queue, rows, spool, now)
    return True


def _held() -> sa.Select[tuple[object, ...]]:
    return sa.select(instance).where(instance.c.decision == "hold", instance.c.rung == RUNG)
