"""What nobody will mend, and an administrator therefore dismisses.

Those are instances that are held, or accepted in a study of which no report can be made; and commitments that
failed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cxr_pacs.gateway.commitment_ledger import of_failed
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.tables import commitment, instance, study

__all__ = [
    "FailedCommitment",
    "HeldInstance",
    "dismiss_commitment",
    "dismiss_held",
    "failed_commitments",
    "held",
    "report_the_others",
]

_HELD = instance.c.decision == "hold"
_UNREPORTED = (instance.c.decision == "accept") & instance.c.reported.is_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """An instance that waits for a person, what with it, and why."""

    id: int
    study_id: int
    sop_instance_uid: str
    study_instance_uid: str
    fate: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCommitment:
    """An object that an archive took and does not vouch for, and why."""

    id: int
    destination: str
    sop_instance_uid: str
    study_instance_uid: str
    reason: str


def held(connection: sa.Connection, uid: str | None) -> tuple[HeldInstance, ...]:
    """List the held instances, and those whose report failed; of a study or an image where `uid` names it.

    Until the transaction ends no report says anything of them.
    """
    query = _held(uid)
    for study_id in sorted({row.study_id for row in connection.execute(query)}):
        lock_study(connection, study_id)
    return tuple(
        HeldInstance(
            id=row.id,
            study_id=row.study_id,
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_instance_uid,
            fate="held" if row.decision == "hold" else "not reported",
            reason=row.reason if row.decision == "hold" else row.problem,
        )
        for row in connection.execute(query)
    )


def _held(uid: str | None) -> sa.Select[Any]:
    query = (
        sa.select(instance, study.c.study_instance_uid, study.c.problem)
        .join(study, study.c.id == instance.c.study_id)
        .where(_HELD | (_UNREPORTED & study.c.problem.is_not(None)))
    )
    if uid is not None:
        query = query.where((study.c.study_instance_uid == uid) | (instance.c.sop_instance_uid == uid))
    return query.order_by(instance.c.id)


def dismiss_held(connection: sa.Connection, one: HeldInstance, now: float) -> bool:
    """Decide that an instance is skipped; False when it needs nobody any more."""
    when = dt.datetime.fromtimestamp(now, tz=dt.UTC).astimezone().isoformat(" ", "seconds")
    statement = (
        sa.update(instance)
        .where(instance.c.id == one.id, _HELD | _UNREPORTED)
        .values(
            decision="skip",
            rung="dismissed",
            reason=f"Dismissed by an administrator on {when}. It had been {one.fate}: {one.reason}",
            findings=sa.null(),
        )
    )
    return connection.execute(statement).rowcount == 1


def report_the_others(connection: sa.Connection, dismissed: Iterable[HeldInstance]) -> None:
    """Let the studies of `dismissed` have no problem any more, and report what is left of each, if it can."""
    studies = {one.study_id for one in dismissed}
    stuck = sa.update(study).where(study.c.id.in_(studies), study.c.problem.is_not(None)).values(problem=None)
    settled = connection.execute(stuck.returning(study.c.id)).scalars().all()
    left = sa.select(sa.func.max(instance.c.id)).where(instance.c.study_id.in_(settled), _UNREPORTED)
    with closing(Queue(connection.engine)) as queue:
        for row_id in connection.execute(left.group_by(instance.c.study_id)).scalars().all():
            queue.enqueue(connection, "report", row_id, queue.attempts("report", row_id) + 1)


def failed_commitments(
    connection: sa.Connection, destination: str | None, study_uid: str | None
) -> tuple[FailedCommitment, ...]:
    """List the failed commitments; by one destination, of one study where these are given."""
    return tuple(
        FailedCommitment(
            id=row.id,
            destination=row.destination,
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_instance_uid,
            reason=row.reason,
        )
        for row in connection.execute(of_failed(destination, study_uid))
    )


def dismiss_commitment(connection: sa.Connection, one: FailedCommitment, now: float) -> bool:
    """Ask for it no more; False when it has not failed any more. A late report still commits the object."""
    of = (commitment.c.id == one.id) & (commitment.c.state == "failed")
    statement = sa.update(commitment).where(of).values(state="dismissed", finished_at=now)
    return connection.execute(statement).rowcount == 1
