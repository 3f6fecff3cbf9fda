"""How messages to peers stand: counts for the whole gateway, sentences for one study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.gateway.messages import AVAILABILITY, STEP
from cxr_pacs.gateway.tables import announced, message
from cxr_pacs.worklist.performed import StepProgress, step_uids_of_study, steps_of_study
from cxr_pacs.worklist.wrong_entry import steps_of_wrong_entry

__all__ = ["MessageStanding", "availability_story", "message_standings", "step_story", "untold"]

_WHAT = {STEP: "performed steps", AVAILABILITY: "availability"}
_OF_WRONG_ENTRY = (
    ": the wrong worklist entry had been selected, "
    "so that it may be of another patient, and hastens no report"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStanding:
    """Messages of one kind to one peer.

    Attributes
    ----------
    peer : str
        By its name in the settings, or that of the destination of which it is told.
    what : str
        What they are about.
    delivered, waiting, parked : int
    oldest_waiting : float or None
        Since when the first of them waits, seconds since the epoch.
    last_reason : str or None
        Why that one waits, or why the last one was parked.
    """

    peer: str
    what: str
    delivered: int
    waiting: int
    parked: int
    oldest_waiting: float | None
    last_reason: str | None


def message_standings(connection: sa.Connection) -> tuple[MessageStanding, ...]:
    """Count the messages to each peer that was ever told."""
    query = sa.select(message.c.peer, message.c.kind).distinct()
    pairs = connection.execute(query.order_by(message.c.peer, message.c.kind)).all()
    return tuple(_standing(connection, row.peer, row.kind) for row in pairs)


def _standing(connection: sa.Connection, peer: str, kind: str) -> MessageStanding:
    of_it = (message.c.peer == peer) & (message.c.kind == kind)
    states = sa.select(message.c.state, sa.func.count()).where(of_it).group_by(message.c.state)
    counts = {row[0]: row[1] for row in connection.execute(states)}
    waits = sa.select(message).where(of_it, message.c.state == "waiting")
    oldest = connection.execute(waits.order_by(message.c.id).limit(1)).first()
    refused = sa.select(message.c.reason).where(of_it, message.c.state == "parked")
    last = connection.execute(refused.order_by(message.c.finished_at.desc()).limit(1)).scalar()
    return MessageStanding(
        peer=peer,
        what=_WHAT[kind],
        delivered=counts.get("delivered", 0),
        waiting=counts.get("waiting", 0),
        parked=counts.get("parked", 0),
        oldest_waiting=oldest.created_at if oldest else None,
        last_reason=last or (oldest.reason if oldest else None),
    )


def untold(connection: sa.Connection, study_id: int, study_uid: str) -> tuple[int, int]:
    """Count the messages about a study, and about its steps, that wait, and those that need a person."""
    steps = step_uids_of_study(study_uid)
    query = (
        sa.select(message.c.state, sa.func.count())
        .where((message.c.study_id == study_id) | message.c.line.in_(steps))
        .group_by(message.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return counts.get("waiting", 0), counts.get("parked", 0)


def step_story(connection: sa.Connection, study_uid: str) -> Iterator[tuple[float | None, str]]:
    """Tell of the performed procedure steps of a study, and whom they were sent on to."""
    wrong = steps_of_wrong_entry(connection, study_uid)
    for step in steps_of_study(connection, study_uid):
        what = f"Performed procedure step {step.sop_instance_uid}"
        yield step.created_at, f"{what} was begun by {step.source}."
        if step.state is not StepProgress.IN_PROGRESS:
            count = len(step.instances)
            instances = "1 instance" if count == 1 else f"{count} instances"
            caution = _OF_WRONG_ENTRY if step.sop_instance_uid in wrong else ""
            yield step.changed_at, f"{what} {step.state.value.lower()} with {instances}{caution}."
        query = sa.select(message).where(message.c.kind == STEP, message.c.line == step.sop_instance_uid)
        for row in connection.execute(query.order_by(message.c.id)):
            operation = "N-SET" if row.operation else "N-CREATE"
            yield _told(row, f"The {operation} of performed procedure step {step.sop_instance_uid}")


def availability_story(connection: sa.Connection, study_id: int) -> Iterator[tuple[float | None, str]]:
    """Tell who was told that the results of a study are available."""
    named = sa.select(sa.func.count()).where(announced.c.message_id == message.c.id).scalar_subquery()
    query = sa.select(message, named.label("objects")).where(message.c.study_id == study_id)
    for row in connection.execute(query.order_by(message.c.id)):
        yield _told(row, f"The availability of {row.objects} object(s) at {row.peer}")


def _told(row: sa.Row[tuple[object, ...]], what: str) -> tuple[float | None, str]:
    done = f"sent on to {row.peer}" if row.kind == STEP else "told"
    if row.state == "delivered":
        return row.finished_at, f"{what} was {done}."
    if row.state == "parked":
        return row.finished_at, f"{what} was not {done}, and needs a person: {row.reason}."
    if row.state == "dismissed":
        return row.finished_at, f"{what} was not {done}: an administrator let it be."
    why = f": {row.reason}" if row.reason else ""
    return row.next_at, f"{what} is to be {done}{why}."
