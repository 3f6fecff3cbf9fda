"""What nobody will mend, and an administrator therefore dismisses: held instances, failed commitments."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.gateway.tables import commitment, commitment_transaction, instance, study

__all__ = [
    "FailedCommitment",
    "HeldInstance",
    "dismiss_commitment",
    "dismiss_held",
    "failed_commitments",
    "held",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """An instance that waits for a person, and why."""

    id: int
    sop_instance_uid: str
    study_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCommitment:
    """An object that an archive took and does not vouch for, and why."""

    id: int
    destination: str
    sop_instance_uid: str
    study_instance_uid: str
    reason: str


def held(connection: sa.Connection, study_uid: str | None) -> tuple[HeldInstance, ...]:
    """List the held instances; of one study where that is given."""
    query = (
        sa.select(instance.c.id, instance.c.sop_instance_uid, instance.c.reason, study.c.study_instance_uid)
        .join(study, study.c.id == instance.c.study_id)
        .where(instance.c.decision == "hold")
    )
    if study_uid is not None:
        query = query.where(study.c.study_instance_uid == study_uid)
    return tuple(
        HeldInstance(
            id=row.id,
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_instance_uid,
            reason=row.reason,
        )
        for row in connection.execute(query.order_by(instance.c.id))
    )


def dismiss_held(connection: sa.Connection, one: HeldInstance, now: float) -> bool:
    """Decide that a held instance is skipped; False when it is not held any more."""
    when = dt.datetime.fromtimestamp(now, tz=dt.UTC).astimezone().isoformat(" ", "seconds")
    statement = (
        sa.update(instance)
        .where(instance.c.id == one.id, instance.c.decision == "hold")
        .values(
            decision="skip",
            rung="dismissed",
            reason=f"Dismissed by an administrator on {when}. It had been held: {one.reason}",
        )
    )
    return connection.execute(statement).rowcount == 1


def failed_commitments(
    connection: sa.Connection, destination: str | None, study_uid: str | None
) -> tuple[FailedCommitment, ...]:
    """List the failed commitments; by one destination, of one study where these are given."""
    query = (
        sa.select(commitment, study.c.study_instance_uid)
        .join(commitment_transaction, commitment_transaction.c.id == commitment.c.transaction_id)
        .join(study, study.c.id == commitment_transaction.c.study_id)
        .where(commitment.c.state == "failed")
    )
    if destination is not None:
        query = query.where(commitment.c.destination == destination)
    if study_uid is not None:
        query = query.where(study.c.study_instance_uid == study_uid)
    return tuple(
        FailedCommitment(
            id=row.id,
            destination=row.destination,
            sop_instance_uid=row.sop_instance_uid,
            study_instance_uid=row.study_instance_uid,
            reason=row.reason,
        )
        for row in connection.execute(query.order_by(commitment.c.id))
    )


def dismiss_commitment(connection: sa.Connection, one: FailedCommitment, now: float) -> bool:
    """Ask for it no more; False when it has not failed any more. A late report still commits the object."""
    of = (commitment.c.id == one.id) & (commitment.c.state == "failed")
    statement = sa.update(commitment).where(of).values(state="dismissed", finished_at=now)
    return connection.execute(statement).rowcount == 1
