"""How the gateway stands: what waits and since when, what needs a person, how each destination answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.gateway.commitment_standing import (
    CommitmentStanding,
    RequestStanding,
    commitment_standings,
    request_standing,
)
from cxr_pacs.gateway.destinations import destinations, problem
from cxr_pacs.gateway.failures import FAILURES_AT_MOST
from cxr_pacs.gateway.message_standing import MessageStanding, message_standings
from cxr_pacs.gateway.owed import owed
from cxr_pacs.gateway.retention import settled
from cxr_pacs.gateway.tables import failure, instance, study
from cxr_pacs.gateway.watch.standing import WatchStanding
from cxr_pacs.gateway.watermark import DiskUsage
from cxr_pacs.settings import Settings

__all__ = ["DestinationStanding", "Standing", "answers", "standing"]

_REMOVED = "it is no longer in the settings"
_DECISIONS = ("accept", "skip", "hold", "refuse")


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStanding:
    """One destination, of the settings or of the ledger alone.

    Attributes
    ----------
    name : str
    problem : str or None
        Why it did not answer, or that the settings do not know it; None where it answers.
    delivered, waiting, parked : int
        Objects.
    oldest_waiting, next_try : float or None
        Seconds since the epoch.
    last_reason : str or None
        Why the object that waits longest waits.
    """

    name: str
    problem: str | None
    delivered: int
    waiting: int
    parked: int
    oldest_waiting: float | None
    next_try: float | None
    last_reason: str | None

    @property
    def removed(self) -> bool:
        """Whether the settings do not know it any more."""
        return self.problem == _REMOVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The whole gateway.

    Attributes
    ----------
    studies : int
    without_report : int
        Studies whose report could not be built.
    waiting : int
        Instances whose analysis is not done.
    unreported : int
        Accepted instances that no report says yet.
    oldest_waiting : float or None
        When the first of all these came, seconds since the epoch.
    failing : int
        Analyses and reports that failed often, and are tried again.
    last_failure : str or None
        How one of these did, that has failed for longest.
    decided : dict
        Count of instances for each of accept, skip, hold and refuse; of the held those alone of which no
        other content was accepted later.
    destinations : tuple of DestinationStanding
    commitments : tuple of CommitmentStanding
        Of the destinations that were ever asked.
    requests : RequestStanding
        What modalities asked for.
    watches : tuple of WatchStanding
        Watched folders.
    messages : tuple of MessageStanding
        Of the peers that were ever told something.
    disk : DiskUsage
        Of the spool.
    """

    studies: int
    without_report: int
    waiting: int
    unreported: int
    oldest_waiting: float | None
    failing: int
    last_failure: str | None
    decided: dict[str, int]
    destinations: tuple[DestinationStanding, ...]
    commitments: tuple[CommitmentStanding, ...]
    requests: RequestStanding
    watches: tuple[WatchStanding, ...]
    messages: tuple[MessageStanding, ...]
    disk: DiskUsage

    @property
    def needs_a_person(self) -> bool:
        """Whether something stands that will not go on by itself."""
        stuck = any(one.parked or (one.problem and not one.removed) for one in self.destinations)
        untold = any(one.parked for one in self.messages) or any(one.failed for one in self.commitments)
        unread = any((one.failed and not one.elsewhere) or one.problem for one in self.watches)
        undone = self.without_report or self.failing or self.decided["hold"]
        parts = (undone, stuck, untold, unread, self.disk.refusing)
        return any(parts)


def answers(settings: Settings) -> dict[str, str | None]:
    """Ask every destination, an archive by C-ECHO; by its name why it failed, or None where it answers."""
    return {name: problem(destination) for name, destination in destinations(settings).items()}


def standing(
    connection: sa.Connection,
    problems: Mapping[str, str | None],
    watches: tuple[WatchStanding, ...],
    disk: DiskUsage,
) -> Standing:
    """
    Count what the ledger holds.

    Parameters
    ----------
    connection : Connection
        On the ledger.
    problems : mapping
        What `answers` gave.
    watches : tuple of WatchStanding
        What `watch_standings` gave.
    disk : DiskUsage
        What `disk_usage` gave.
    """
    studies = connection.execute(sa.select(sa.func.count(study.c.id), sa.func.count(study.c.problem))).one()
    counts = dict.fromkeys(_DECISIONS, 0)
    query = sa.select(instance.c.decision, sa.func.count()).group_by(instance.c.decision)
    counts |= {row[0]: row[1] for row in connection.execute(query) if row[0]}
    counts["hold"] -= _count(connection, (instance.c.decision == "hold") & settled())
    undecided = instance.c.decision.is_(None)
    unreported = (instance.c.decision == "accept") & instance.c.reported.is_(False)
    oldest = sa.select(sa.func.min(instance.c.received_at)).where(undecided | unreported)
    failing = connection.execute(
        sa.select(failure.c.reason).where(failure.c.times >= FAILURES_AT_MOST).order_by(failure.c.since)
    ).scalars()
    reasons = failing.all()
    told = set(connection.execute(sa.select(owed.c.destination).distinct()).scalars())
    return Standing(
        studies=studies[0],
        without_report=studies[1],
        waiting=_count(connection, undecided),
        unreported=_count(connection, unreported),
        oldest_waiting=connection.execute(oldest).scalar(),
        failing=len(reasons),
        last_failure=reasons[0] if reasons else None,
        decided=counts,
        destinations=tuple(
            _destination(connection, name, problems.get(name, _REMOVED))
            for name in sorted(problems.keys() | told)
        ),
        commitments=commitment_standings(connection),
        requests=request_standing(connection),
        watches=watches,
        messages=message_standings(connection),
        disk=disk,
    )


def _count(connection: sa.Connection, of: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(instance).where(of)).scalar_one())


def _destination(connection: sa.Connection, name: str, problem: str | None) -> DestinationStanding:
    of_it = owed.c.destination == name
    states = sa.select(owed.c.state, sa.func.count()).where(of_it).group_by(owed.c.state)
    counts = {row[0]: row[1] for row in connection.execute(states)}
    waits = sa.select(owed).where(of_it, owed.c.state == "waiting")
    oldest = connection.execute(waits.order_by(owed.c.created_at, owed.c.id).limit(1)).first()
    next_try = connection.execute(
        sa.select(sa.func.min(owed.c.next_at)).where(of_it, owed.c.state == "waiting")
    ).scalar()
    return DestinationStanding(
        name=name,
        problem=problem,
        delivered=counts.get("delivered", 0),
        waiting=counts.get("waiting", 0),
        parked=counts.get("parked", 0),
        oldest_waiting=oldest.created_at if oldest else None,
        next_try=next_try,
        last_reason=oldest.reason if oldest else None,
    )
