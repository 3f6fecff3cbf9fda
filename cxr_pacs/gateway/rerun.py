"""A study read again on request: what is asked, what was said before, and what came of it.

Asking puts the instances back to where intake left them, and keeps in the ledger what was said of them. The
workflows of a study then do the rest, as they do it for one that has just come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.errors import CannotReadAgain, NothingToShow
from cxr_pacs.gateway.ledger import InstanceRow
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.tables import (
    earlier_reading,
    instance,
    removed,
    rerun,
    result,
    study,
    superseded,
    unmade,
)

__all__ = [
    "ask_again",
    "close_reruns",
    "earlier_attempts",
    "lock_study",
    "outcome",
    "put_back",
    "reading_time",
    "set_superseded",
    "superseded_results",
]

_Row = sa.Row[tuple[object, ...]]


def ask_again(
    connection: sa.Connection, queue: Queue, study_uid: str, spool: Path, now: float
) -> tuple[int, int]:
    """Have the accepted and the held instances of a study read again; all or nothing, in one transaction.

    One that was held because its SOP Instance UID had come with other bytes is left alone, and so is a held
    one that came anew since.

    Parameters
    ----------
    connection : Connection
        On the ledger, in a transaction.
    queue : Queue
        Of the same database.
    study_uid : str
        Study Instance UID.
    spool : Path
        The spool's folder.
    now : float
        Seconds since the epoch; pinned as the time of what is made anew.

    Returns
    -------
    (int, int)
        Id of the request, for `outcome`; and how many instances are read again. While they still wait for
        that, asking anew gives the same request.

    Raises
    ------
    NothingToShow
        Nothing of this study was received.
    CannotReadAgain
        There is nothing to read, or it is not kept any more.
    """
    study_id = connection.execute(
        sa.select(study.c.id).where(study.c.study_instance_uid == study_uid)
    ).scalar()
    if study_id is None:
        raise NothingToShow(f"no study of this gateway is called {study_uid}: nothing of it was received")
    lock_study(connection, study_id)
    query = sa.select(instance).where(instance.c.study_id == study_id).order_by(instance.c.id)
    rows = connection.execute(query).all()
    due = _due(rows)
    if not due and (opened := _open(connection, study_id)) is not None:
        return opened, sum(row.decision is None for row in rows)
    if not due:
        raise CannotReadAgain(
            f"study {study_uid} has no instance that was accepted, and none that is held for another reason "
            "than a UID that came twice: there is nothing to read again"
        )
    if _is_removed(connection, study_id):
        # Under the UIDs of what is gone other bytes would come out: their times are those of a reading.
        raise CannotReadAgain(
            f"files of study {study_uid} were removed, as retention.files_days says, and nothing was "
            "changed: its images can be read anew only once the gateway has forgotten the study "
            "(retention.rows_days) and gets it again"
        )
    connection.execute(sa.update(study).where(study.c.id == study_id).values(problem=None))
    connection.execute(sa.delete(unmade).where(unmade.c.study_id == study_id))
    return put_back(connection, queue, due, spool, now), len(due)


def put_back(connection: sa.Connection, queue: Queue, rows: Sequence[_Row], spool: Path, now: float) -> int:
    """Have instances of one study read again, and record that it was asked for; id of the request.

    Raises
    ------
    CannotReadAgain
        The original of one is not kept any more.
    """
    study_id = rows[0].study_id
    for row in rows:
        if row.file is None or not (spool / row.file).is_file():
            raise CannotReadAgain(
                f"the original of instance {row.sop_instance_uid} is no longer in the spool, and nothing was "
                "changed: send the very same object to this gateway again, which puts it back, and repeat "
                "this command"
            )
    of_study = sa.select(sa.func.max(result.c.id)).where(result.c.study_id == study_id)
    last_result = connection.execute(of_study).scalar() or 0
    request = sa.insert(rerun).values(study_id=study_id, asked_at=now, last_result=last_result)
    rerun_id: int = connection.execute(request.returning(rerun.c.id)).scalar_one()
    for row in rows:
        _put_back(connection, queue, rerun_id, row)
    return rerun_id


def _due(rows: Sequence[_Row]) -> list[_Row]:
    """Pick the accepted, and of the held the newest under each UID that is not read otherwise."""
    read = {row.sop_instance_uid for row in rows if row.decision in (None, "accept")}
    held = {
        row.sop_instance_uid: row
        for row in rows
        if row.decision == "hold" and row.rung != "sop-instance-uid" and row.sop_instance_uid not in read
    }
    return [*(row for row in rows if row.decision == "accept"), *held.values()]


def _is_removed(connection: sa.Connection, study_id: int) -> bool:
    files = (sa.select(table.c.file).where(table.c.study_id == study_id) for table in (instance, result))
    query = sa.select(removed.c.file).where(sa.or_(*(removed.c.file.in_(named) for named in files)))
    return connection.execute(query).first() is not None


def _open(connection: sa.Connection, study_id: int) -> int | None:
    query = sa.select(rerun.c.id).where(rerun.c.study_id == study_id, rerun.c.done_at.is_(None))
    return connection.execute(query.order_by(rerun.c.id)).scalars().first()


def _put_back(connection: sa.Connection, queue: Queue, rerun_id: int, row: _Row) -> None:
    """Keep what was said of the instance, and let it wait for its analysis."""
    # Of those before an earlier request there may be no record any more.
    attempts = max(queue.attempts("analyse", row.id), earlier_attempts(connection, row.id) or 0)
    said = {name: getattr(row, name) for name in ("decision", "rung", "reason", "findings", "quality")}
    connection.execute(
        sa.insert(earlier_reading).values(rerun_id=rerun_id, instance_id=row.id, attempts=attempts, **said)
    )
    nothing = dict.fromkeys(said, sa.null()) | {"reported": False}
    connection.execute(sa.update(instance).where(instance.c.id == row.id).values(nothing))
    queue.enqueue(connection, "analyse", row.id, attempts + 1)


def lock_study(connection: sa.Connection, study_id: int) -> None:
    """Let no other transaction that calls this on the same study go on before the end of this one."""
    same = {"last_arrival": study.c.last_arrival}
    connection.execute(sa.update(study).where(study.c.id == study_id).values(same))


def earlier_attempts(connection: sa.Connection, instance_id: int) -> int | None:
    """Give the number of the last analysis before the instance was read again; None where it never was."""
    query = sa.select(sa.func.max(earlier_reading.c.attempts))
    return connection.execute(query.where(earlier_reading.c.instance_id == instance_id)).scalar()


def reading_time(connection: sa.Connection, rows: Sequence[InstanceRow]) -> float:
    """When the newest of the instances came, or was asked to be read again; seconds since the epoch."""
    query = (
        sa.select(sa.func.max(rerun.c.asked_at))
        .join(earlier_reading, earlier_reading.c.rerun_id == rerun.c.id)
        .where(earlier_reading.c.instance_id.in_([row.id for row in rows]))
    )
    return max(connection.execute(query).scalar() or 0.0, *(row.received_at for row in rows))


def set_superseded(connection: sa.Connection, instance_id: int, made: Iterable[str]) -> None:
    """Record that of the instance's objects only those with the UIDs `made` are still good."""
    of_instance = sa.select(result.c.id).where(result.c.instance_id == instance_id)
    connection.execute(sa.delete(superseded).where(superseded.c.result_id.in_(of_instance)))
    others = of_instance.where(result.c.sop_instance_uid.not_in(list(made)))
    connection.execute(sa.insert(superseded).from_select(["result_id"], others))


def superseded_results(connection: sa.Connection, study_id: int) -> frozenset[int]:
    """Ids of the study's results that belong to an earlier reading of their instance."""
    query = sa.select(superseded.c.result_id).join(result, result.c.id == superseded.c.result_id)
    return frozenset(connection.execute(query.where(result.c.study_id == study_id)).scalars())


def close_reruns(connection: sa.Connection, study_id: int, now: float) -> None:
    """Record what came of the study's open requests, unless an instance still waits."""
    query = sa.select(rerun).where(rerun.c.study_id == study_id, rerun.c.done_at.is_(None))
    opened = connection.execute(query).all()
    if not opened:
        return
    lock_study(connection, study_id)
    problem = connection.execute(sa.select(study.c.problem).where(study.c.id == study_id)).scalar()
    rows = connection.execute(sa.select(instance).where(instance.c.study_id == study_id)).all()
    accepted = [row for row in rows if row.decision == "accept"]
    if any(row.decision is None for row in rows) or (
        problem is None and any(not row.reported for row in accepted)
    ):
        return
    made = connection.execute(sa.select(result).where(result.c.study_id == study_id)).all()
    for one in opened:
        said = _outcome(problem, accepted, made, one.last_result)
        failed = problem is not None or not accepted
        values = {"done_at": now, "outcome": said, "failed": failed}
        connection.execute(sa.update(rerun).where(rerun.c.id == one.id).values(values))


def _outcome(problem: str | None, accepted: Sequence[_Row], made: Sequence[_Row], last_result: int) -> str:
    new = [row for row in made if row.id > last_result]
    reports = [row.sop_instance_uid for row in new if row.kind == "SR"]
    before = any(row.kind == "SR" and row.id <= last_result for row in made)
    if problem is not None:
        return f"The study was read again, but no report could be made: {problem}"
    if not accepted:
        return "The study was read again, and no instance was accepted: nothing new was made."
    if not new:
        return (
            "The study was read again, and nothing had changed: every object came out under its old UID, "
            "stays as it was, and is not sent again."
        )
    if not reports:
        return f"The study was read again: the report stays, and {len(new)} object(s) beside it are new."
    if before:
        return (
            "The study was read again, and model, settings, software or images had changed: a new report, "
            f"{', '.join(reports)}, names the earlier one as its predecessor."
        )
    return f"The study was read again, and has its first report: {', '.join(reports)}."


def outcome(connection: sa.Connection, rerun_id: int) -> tuple[str, bool] | None:
    """Say in one sentence what came of the request, and whether it failed; None while it is not done."""
    row = connection.execute(sa.select(rerun).where(rerun.c.id == rerun_id)).one()
    return None if row.done_at is None else (row.outcome, row.failed)
