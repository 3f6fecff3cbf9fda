"""The whole history of a study in sentences: what came, what was decided, made and sent, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.errors import NothingToShow
from cxr_pacs.gateway import failures
from cxr_pacs.gateway.commitment_standing import commitment_story, uncommitted
from cxr_pacs.gateway.message_standing import availability_story, step_story, untold
from cxr_pacs.gateway.order_check import order_story
from cxr_pacs.gateway.owed import DELIVER, in_line, owed
from cxr_pacs.gateway.rerun import superseded_results
from cxr_pacs.gateway.tables import earlier_reading, instance, removed, rerun, result, study, unmade

__all__ = ["Event", "History", "study_history"]

_KINDS = {
    "SR": "report",
    "SC": "heatmap",
    "SG": "segmentation",
    "PS": "presentation state",
    "KO": "key object selection",
    "TX": "plain report",
}
_DECIDED = {"accept": "accepted", "skip": "skipped", "hold": "held", "refuse": "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A sentence, and when it happened: seconds since the epoch, or None where the ledger does not say."""

    at: float | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One study.

    Attributes
    ----------
    study_instance_uid : str
        A hyphen for an instance that was not kept, and so has none here.
    events : tuple of Event
        What came, what was said before it was read again, then what was made of it, then what became of each
        delivery.
    conclusion : str
        Why the study stands as it does, in one sentence.
    done : bool
        Whether nothing more will happen and nothing is stuck.
    """

    study_instance_uid: str
    events: tuple[Event, ...]
    conclusion: str
    done: bool


def study_history(connection: sa.Connection, uid: str) -> History:
    """
    Tell the history of the study `uid`, or of the study that the image or our own object `uid` belongs to.

    Raises
    ------
    NothingToShow
        Nothing of that UID was received.
    """
    row = _study_of(connection, uid)
    alone = _rows(
        connection,
        sa.select(instance).where(instance.c.sop_instance_uid == uid, instance.c.study_id.is_(None)),
    )
    if row is None and alone:
        return History(
            study_instance_uid="-",
            events=tuple(_came(one, {}) for one in alone),
            conclusion="It was not kept, and belongs to no study of this gateway.",
            done=True,
        )
    if row is None:
        raise NothingToShow(
            f"no study, no instance and no accession number of this gateway is {uid}: "
            "nothing of it was received"
        )
    instances = _rows(connection, sa.select(instance).where(instance.c.study_id == row.id))
    results = _rows(connection, sa.select(result).where(result.c.study_id == row.id))
    deliveries = list(
        connection.execute(
            sa.select(owed).where(owed.c.study_id == row.id).order_by(owed.c.work, owed.c.id)
        ).all()
    )
    behind = in_line(connection, row.id)
    reruns = _rows(connection, sa.select(rerun).where(rerun.c.study_id == row.id))
    earlier = _rows(
        connection,
        sa.select(earlier_reading, instance.c.sop_instance_uid, rerun.c.asked_at)
        .join(instance, instance.c.id == earlier_reading.c.instance_id)
        .join(rerun, rerun.c.id == earlier_reading.c.rerun_id)
        .where(instance.c.study_id == row.id),
    )
    past = superseded_results(connection, row.id)
    missing = _rows(connection, sa.select(unmade).where(unmade.c.study_id == row.id))
    failed = failures.of_study(connection, row.id)
    conclusion, done = _conclusion((row.problem, failed.get(None)), instances, results, deliveries)
    if done:
        conclusion, done = _commitment_conclusion(conclusion, *uncommitted(connection, row.id))
    if done:
        conclusion, done = _telling_conclusion(
            conclusion, *untold(connection, row.id, row.study_instance_uid)
        )
    return History(
        study_instance_uid=row.study_instance_uid,
        events=(
            *(_came(one, failed) for one in instances),
            *(Event(at=at, sentence=said) for at, said in order_story(connection, row.id)),
            *map(_said_before, earlier),
            *map(_asked, reruns),
            *(_made(one, past) for one in results),
            *(Event(at=None, sentence=f"Left out: {one.reason}") for one in missing),
            *(_sent(one, behind) for one in deliveries),
            *(Event(at=at, sentence=said) for at, said in commitment_story(connection, row.id, _KINDS)),
            *(Event(at=at, sentence=said) for at, said in step_story(connection, row.study_instance_uid)),
            *(Event(at=at, sentence=said) for at, said in availability_story(connection, row.id)),
            *_removals(connection, row.id),
        ),
        conclusion=conclusion,
        done=done,
    )


def _study_of(connection: sa.Connection, uid: str) -> sa.Row[tuple[object, ...]] | None:
    """Find the study called `uid`; else that of an image, else that of an object of ours, so called."""
    queries = (
        sa.select(study).where(study.c.study_instance_uid == uid),
        sa.select(study)
        .join(instance, instance.c.study_id == study.c.id)
        .where(instance.c.sop_instance_uid == uid),
        sa.select(study)
        .join(result, result.c.study_id == study.c.id)
        .where(result.c.sop_instance_uid == uid),
    )
    found = (connection.execute(query.order_by(study.c.id)).first() for query in queries)
    return next((row for row in found if row is not None), None)


def _rows(
    connection: sa.Connection, query: sa.Select[tuple[object, ...]]
) -> list[sa.Row[tuple[object, ...]]]:
    return list(connection.execute(query.order_by(query.selected_columns[0])).all())


def _came(row: sa.Row[tuple[object, ...]], failed: Mapping[int | None, failures.Failure]) -> Event:
    fate = f"{_DECIDED[row.decision]}: {row.reason}" if row.decision else "its analysis is not done yet."
    if row.decision is None and row.id in failed:
        fate += f" {failed[row.id].sentence}"
    return Event(
        at=row.received_at, sentence=f"Instance {row.sop_instance_uid} came from {row.source}; {fate}"
    )


def _said_before(row: sa.Row[tuple[object, ...]]) -> Event:
    model = row.findings["model"] if row.findings else None
    reader = f" of {model['name']} {model['version']}" if model else ""
    return Event(
        at=row.asked_at,
        sentence=f"Instance {row.sop_instance_uid} was to be read again; the earlier reading{reader}: "
        f"{_DECIDED[row.decision]}: {row.reason}",
    )


def _asked(row: sa.Row[tuple[object, ...]]) -> Event:
    if row.done_at is None:
        return Event(at=row.asked_at, sentence="The study is to be read again: this is not done yet.")
    return Event(at=row.done_at, sentence=str(row.outcome))


def _made(row: sa.Row[tuple[object, ...]], past: frozenset[int]) -> Event:
    of = f" of {len(row.sources)} instance(s)" if row.sources else ""
    since = "; it belongs to an earlier reading" if row.id in past else ""
    return Event(at=None, sentence=f"A {_KINDS[row.kind]}{of} was made: {row.sop_instance_uid}{since}.")


def _sent(row: sa.Row[tuple[object, ...]], behind: frozenset[int]) -> Event:
    name = _KINDS[row.kind] if row.kind else f"original {row.sop_instance_uid}"
    what = f"The {name} for {row.destination}"
    if row.work == DELIVER and row.id in behind:
        return Event(at=None, sentence=f"{what} has its turn after the one before it.")
    if row.state == "delivered":
        return Event(at=row.finished_at, sentence=f"{what} was taken by it at attempt {row.attempts}.")
    parked = f"parked after {row.attempts} attempt(s): {row.reason}"
    if row.state == "parked":
        return Event(at=row.finished_at, sentence=f"{what} was {parked}")
    if row.state == "dismissed":
        return Event(
            at=row.finished_at, sentence=f"{what} was dismissed by an administrator. It had been {parked}"
        )
    last = (
        f"after {row.attempts} failed attempt(s), the last: {row.reason}"
        if row.attempts
        else "for its first attempt"
    )
    return Event(at=row.next_at, sentence=f"{what} is next tried then, {last}.")


def _removals(connection: sa.Connection, study_id: int) -> Iterator[Event]:
    for what, table in (("original", instance), ("result", result)):
        query = sa.select(sa.func.count(), sa.func.max(removed.c.at)).join(
            table, table.c.file == removed.c.file
        )
        count, at = connection.execute(query.where(table.c.study_id == study_id)).one()
        if count:
            yield Event(
                at=at, sentence=f"{count} {what} file(s) were removed, as the retention settings say."
            )


def _conclusion(
    trouble: tuple[str | None, failures.Failure | None],
    instances: list[sa.Row[tuple[object, ...]]],
    results: list[sa.Row[tuple[object, ...]]],
    deliveries: list[sa.Row[tuple[object, ...]]],
) -> tuple[str, bool]:
    """Say why the study stands as it does, the worst first; and whether that is the end.

    `trouble` is why it has no report, and how that failed which is tried again.
    """
    for sentence in _unfinished(trouble, instances, deliveries):
        return sentence, False
    if not any(row.kind == "SR" for row in results):
        return "No report was made, since no instance was accepted.", True
    if not any(row.kind for row in deliveries):
        return "Nothing was sent, since there was no destination for the results.", True
    if dismissed := [row for row in deliveries if row.state == "dismissed"]:
        return f"{len(dismissed)} of {len(deliveries)} deliveries were dismissed, the others taken.", True
    return f"All {len(deliveries)} deliveries were taken.", True


def _commitment_conclusion(conclusion: str, waiting: int, failed: int) -> tuple[str, bool]:
    """Say what storage commitment adds to the `conclusion` of a study of which all else is done."""
    if failed:
        return f"The storage of {failed} object(s) is not committed and needs a person.", False
    if waiting:
        return f"{conclusion} The storage of {waiting} object(s) is not committed yet.", False
    return conclusion, True


def _telling_conclusion(conclusion: str, waiting: int, parked: int) -> tuple[str, bool]:
    """Say what messages about the study add to its `conclusion`."""
    if parked:
        return f"{parked} message(s) about the study are parked and need a person.", False
    if waiting:
        return f"{conclusion} {waiting} message(s) about it wait for their next attempt.", False
    return conclusion, True


def _unfinished(
    trouble: tuple[str | None, failures.Failure | None],
    instances: list[sa.Row[tuple[object, ...]]],
    deliveries: list[sa.Row[tuple[object, ...]]],
) -> Iterator[str]:
    problem, failed = trouble
    if problem:
        yield f"There is no report, or none of the newest images: {problem}"
    if held := [row for row in instances if row.decision == "hold"]:
        yield f"{len(held)} instance(s) are held and need a person."
    if parked := [row for row in deliveries if row.state == "parked"]:
        yield f"{len(parked)} of {len(deliveries)} deliveries are parked and need a person."
    if waiting := [row for row in instances if row.decision is None]:
        yield f"The analysis of {len(waiting)} instance(s) is not done yet."
    unreported = any(row.decision == "accept" and not row.reported for row in instances)
    if unreported and failed:
        yield f"The report is not made yet. {failed.sentence}"
    if unreported:
        yield "The report waits for the end of the study's quiet period."
    if waiting := [row for row in deliveries if row.state == "waiting"]:
        yield f"{len(waiting)} of {len(deliveries)} deliveries wait for their next attempt."
