"""How storage commitment stands: counts for the whole gateway, sentences for one study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.dimse.commitment import FAILURE_REASONS
from cxr_pacs.gateway.tables import (
    commitment,
    commitment_request,
    commitment_transaction,
    instance,
    requested_object,
    result,
)

__all__ = [
    "CommitmentStanding",
    "RequestStanding",
    "commitment_standings",
    "commitment_story",
    "request_standing",
    "uncommitted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentStanding:
    """Objects of ours that one destination took, and was asked to vouch for.

    Attributes
    ----------
    destination : str
    committed, waiting, failed : int
        Objects; the failed ones need a person.
    oldest_waiting : float or None
        When the first of the waiting ones was delivered, seconds since the epoch.
    last_reason : str or None
        Why it waits for more than its first report, or why the last one failed.
    """

    destination: str
    committed: int
    waiting: int
    failed: int
    oldest_waiting: float | None
    last_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStanding:
    """Requests of modalities, by whether they were told the outcome."""

    told: int
    waiting: int
    failed: int


def commitment_standings(connection: sa.Connection) -> tuple[CommitmentStanding, ...]:
    """Count the objects of each destination that was ever asked."""
    query = sa.select(commitment.c.destination).distinct().order_by(commitment.c.destination)
    return tuple(_standing(connection, name) for name in connection.execute(query).scalars())


def _standing(connection: sa.Connection, destination: str) -> CommitmentStanding:
    of_it = commitment.c.destination == destination
    states = sa.select(commitment.c.state, sa.func.count()).where(of_it).group_by(commitment.c.state)
    counts = {row[0]: row[1] for row in connection.execute(states)}
    waits = sa.select(commitment.c.reason, commitment.c.delivered_at, commitment_transaction.c.reason).where(
        of_it, commitment.c.state.in_(("waiting", "lost"))
    )
    oldest = connection.execute(
        waits.join(commitment_transaction, commitment_transaction.c.id == commitment.c.transaction_id)
        .order_by(commitment.c.delivered_at, commitment.c.id)
        .limit(1)
    ).first()
    failures = sa.select(commitment.c.reason).where(of_it, commitment.c.state == "failed")
    last = connection.execute(failures.order_by(commitment.c.finished_at.desc()).limit(1)).scalar()
    return CommitmentStanding(
        destination=destination,
        committed=counts.get("committed", 0),
        waiting=counts.get("waiting", 0) + counts.get("lost", 0),
        failed=counts.get("failed", 0),
        oldest_waiting=oldest[1] if oldest else None,
        last_reason=last or (oldest and (oldest[2] or oldest[0])),
    )


def request_standing(connection: sa.Connection) -> RequestStanding:
    """Count what modalities asked for."""
    query = sa.select(commitment_request.c.state, sa.func.count()).group_by(commitment_request.c.state)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return RequestStanding(
        told=counts.get("told", 0), waiting=counts.get("waiting", 0), failed=counts.get("failed", 0)
    )


def uncommitted(connection: sa.Connection, study_id: int) -> tuple[int, int]:
    """Count the objects of a study that wait for an archive's word, and those that need a person."""
    query = (
        sa.select(commitment.c.state, sa.func.count())
        .join(commitment_transaction, commitment_transaction.c.id == commitment.c.transaction_id)
        .where(commitment_transaction.c.study_id == study_id)
        .group_by(commitment.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return counts.get("waiting", 0) + counts.get("lost", 0), counts.get("failed", 0)


def commitment_story(
    connection: sa.Connection, study_id: int, kinds: Mapping[str, str]
) -> Iterator[tuple[float | None, str]]:
    """Tell of a study what archives and modalities asked and said; a time where the ledger knows it."""
    asked = (
        sa.select(
            commitment,
            commitment_transaction.c.asked_at,
            commitment_transaction.c.reason.label("hindrance"),
            result.c.kind,
        )
        .join(commitment_transaction, commitment_transaction.c.id == commitment.c.transaction_id)
        .outerjoin(result, result.c.sop_instance_uid == commitment.c.sop_instance_uid)
        .where(commitment_transaction.c.study_id == study_id)
        .order_by(commitment.c.id)
    )
    for row in connection.execute(asked):
        yield _said(row, f"the {kinds.get(row.kind, 'image')}")
    yield from _vouched(connection, study_id)


def _said(row: sa.Row[tuple[object, ...]], what: str) -> tuple[float | None, str]:
    name, asked_at, hindrance = row.destination, row.asked_at, row.hindrance
    if row.state == "committed":
        return row.finished_at, f"Storage of {what} was committed by {name}."
    if row.state == "failed":
        return row.finished_at, f"Storage of {what} was not committed by {name}: {row.reason}."
    if row.state == "dismissed":
        dismissed = f"The missing commitment of {what} by {name} was dismissed by an administrator"
        return row.finished_at, f"{dismissed}. It had failed: {row.reason}."
    if row.state == "lost":
        return None, f"{what.capitalize()} is sent to {name} again: {row.reason}."
    if asked_at is None:
        why = hindrance or row.reason
        return None, f"{name} is to be asked to commit {what}{f'; {why}' if why else ''}."
    return asked_at, f"{name} was asked to commit {what}, and has not reported yet."


def _vouched(connection: sa.Connection, study_id: int) -> Iterator[tuple[float | None, str]]:
    query = (
        sa.select(commitment_request, requested_object.c.sop_instance_uid, requested_object.c.failure)
        .join(requested_object, requested_object.c.request_id == commitment_request.c.id)
        .where(
            requested_object.c.sop_instance_uid.in_(
                sa.select(instance.c.sop_instance_uid).where(instance.c.study_id == study_id)
            )
        )
        .order_by(requested_object.c.id)
    )
    for row in connection.execute(query):
        what = f"whether instance {row.sop_instance_uid} is kept"
        if row.state == "waiting":
            yield row.received_at, f"{row.ae_title} asked {what}, and is still to be told."
        elif row.state == "failed":
            yield row.finished_at, f"{row.ae_title} asked {what}, and was not told: {row.reason}."
        elif row.failure is None:
            yield row.finished_at, f"{row.ae_title} asked {what}, and was told that it is."
        else:
            why = FAILURE_REASONS[row.failure]
            yield row.finished_at, f"{row.ae_title} asked {what}, and was told that it is not: {why}."
