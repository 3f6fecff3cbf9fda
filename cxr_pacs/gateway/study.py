"""When a study is complete enough to report.

::

    quiet      no image for the quiet period of the sender of the newest one
    released   or, sooner, some seconds after the association that brought it was released
    longest    at the latest so long after the first image that no report says
    ended      at once, when its performed procedure steps have ended and all that they name has come

A step that was discontinued since the wrong worklist entry had been selected hastens nothing: its images may
be of another patient. A release is known to the ledger; where a crash lost one, the quiet period decides.
Where the clock was set back, that begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cxr_pacs.gateway.intake import storage_classes
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.tables import instance, released, rerun, study
from cxr_pacs.settings import Settings, StudySettings
from cxr_pacs.worklist.performed import PerformedStep, StepProgress, steps_of_study
from cxr_pacs.worklist.wrong_entry import steps_of_wrong_entry

__all__ = ["OpenStudy", "due_at", "hasten_ended", "hasten_reports", "resettle_reports", "until_due"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study with images that no report says. Times are seconds since the epoch.

    Attributes
    ----------
    first, newest : float
        When the first of these images came, or the study was asked to be read again; and when the newest of
        the study came.
    source : str
        Calling AE title of the newest one.
    released : float or None
        When the association that brought the newest one was released.
    undecided : bool
        Whether the analysis of an image is not done.
    ended : bool
        Whether the modalities said that it is complete, and all that they named has come.
    """

    first: float
    newest: float
    source: str
    released: float | None
    undecided: bool
    ended: bool


def due_at(waiting: OpenStudy, settings: StudySettings) -> float:
    """When the study is reported at the latest, if nothing more comes; seconds since the epoch."""
    latest = waiting.first + settings.longest_wait
    if waiting.undecided:
        return latest
    if waiting.ended:
        return min(waiting.newest, latest)
    quiet = waiting.newest + settings.quiet_period_of.get(waiting.source, settings.quiet_period)
    if waiting.released is not None:
        quiet = min(quiet, waiting.released + settings.after_release)
    return min(quiet, latest)


def until_due(connection: sa.Connection, study_id: int, settings: Settings, now: float) -> float:
    """Seconds until the study is to be reported; not positive when that is now, or nothing is left.

    A newest image that came later than `now`, before the clock was set back, is taken to have come now.
    """
    waiting = _open_study(connection, study_id, storage_classes(settings.dicom))
    if waiting is None:
        return 0.0
    if waiting.newest > now:
        connection.execute(sa.update(study).where(study.c.id == study_id).values(last_arrival=now))
        waiting = replace(waiting, newest=now)
    delay = due_at(waiting, settings.study) - now
    # Longer than that is a first image from before the clock was set back.
    return delay if delay <= settings.study.longest_wait else 0.0


def hasten_reports(
    ledger: Ledger, queue: Queue, settings: Settings, sop_instance_uids: tuple[str, ...], now: float
) -> None:
    """Record that the association that brought these was released at `now`, and report sooner."""
    try:
        with ledger.begin() as connection:
            ended = _record_release(connection, sop_instance_uids, now)
            delays = {row: until_due(connection, study_id, settings, now) for row, study_id in ended}
        for row, delay in delays.items():
            queue.hasten("report", row, delay)
    except sa.exc.SQLAlchemyError as error:
        logger.warning("a release was not recorded, the quiet period decides: %s", type(error).__name__)


def hasten_ended(
    ledger: Ledger, queue: Queue, settings: Settings, study_uids: tuple[str, ...], now: float
) -> None:
    """Report studies, of each of which a performed procedure step ended, at once where all of it has come."""
    newest = (
        sa.select(sa.func.max(instance.c.id), study.c.id)
        .join(study, study.c.id == instance.c.study_id)
        .where(study.c.study_instance_uid.in_(study_uids), instance.c.file.is_not(None))
        .group_by(study.c.id)
        .order_by(study.c.id)
    )
    try:
        with ledger.begin() as connection:
            delays = {}
            for row_id, study_id in connection.execute(newest).all():
                lock_study(
                    connection, study_id
                )  # its report may just be enqueued, by who does not see the end
                delays[int(row_id)] = until_due(connection, study_id, settings, now)
        for row, delay in delays.items():
            queue.hasten("report", row, delay)
    except sa.exc.SQLAlchemyError as error:
        logger.warning("no report was hastened, the quiet period decides: %s", type(error).__name__)


def resettle_reports(ledger: Ledger, queue: Queue, settings: Settings, now: float) -> None:
    """Let what waits for its report be due when `settings` say: they may be others than when it came."""
    open_studies = sa.select(instance.c.study_id).where(
        sa.or_(instance.c.decision.is_(None), (instance.c.decision == "accept") & ~instance.c.reported)
    )
    newest = (
        sa.select(sa.func.max(instance.c.id), instance.c.study_id)
        .where(instance.c.study_id.in_(open_studies), instance.c.file.is_not(None))
        .group_by(instance.c.study_id)
    )
    with ledger.begin() as connection:
        found = [(int(row[0]), int(row[1])) for row in connection.execute(newest)]
        delays = {row: until_due(connection, study_id, settings, now) for row, study_id in found}
    for row, delay in delays.items():
        queue.hasten("report", row, delay)


def _open_study(connection: sa.Connection, study_id: int, sop_classes: Collection[str]) -> OpenStudy | None:
    kept = (
        sa.select(instance, released.c.at)
        .outerjoin(released)
        .where(instance.c.study_id == study_id, instance.c.file.is_not(None))
    )
    rows = connection.execute(kept.order_by(instance.c.received_at, instance.c.id)).all()
    unreported = [
        row for row in rows if row.decision is None or (row.decision == "accept" and not row.reported)
    ]
    if not unreported:
        return None
    of_it = connection.execute(sa.select(study).where(study.c.id == study_id)).one()
    # A double that intake held does not count.
    arrivals = [row for row in rows if row.rung != "sop-instance-uid"] or rows
    newest = max(arrivals, key=lambda row: row.id)
    asked_again = sa.select(sa.func.max(rerun.c.asked_at)).where(
        rerun.c.study_id == study_id, rerun.c.done_at.is_(None)
    )
    return OpenStudy(
        first=max(unreported[0].received_at, connection.execute(asked_again).scalar() or 0.0),
        newest=of_it.last_arrival,
        source=newest.source,
        released=newest.at,
        undecided=any(row.decision is None for row in rows),
        ended=_ended(
            _telling_steps(connection, of_it.study_instance_uid),
            {row.sop_instance_uid for row in rows},
            sop_classes,
        ),
    )


def _telling_steps(connection: sa.Connection, study_instance_uid: str) -> list[PerformedStep]:
    wrong = steps_of_wrong_entry(connection, study_instance_uid)
    steps = steps_of_study(connection, study_instance_uid)
    return [step for step in steps if step.sop_instance_uid not in wrong]


def _ended(steps: Sequence[PerformedStep], came: Collection[str], sop_classes: Collection[str]) -> bool:
    """Whether all that the steps name and that can come came, and nothing of which they do not speak."""
    if not steps or any(step.state is StepProgress.IN_PROGRESS for step in steps):
        return False
    named = {uid: sop_class for step in steps for uid, sop_class in step.instances}
    return named.keys() >= set(came) and all(
        uid in came for uid, sop_class in named.items() if sop_class in sop_classes
    )


def _record_release(
    connection: sa.Connection, sop_instance_uids: tuple[str, ...], now: float
) -> list[tuple[int, int]]:
    """Note the release at the newest image of each study; ids of these images and of their studies."""
    newest = (
        sa.select(sa.func.max(instance.c.id), instance.c.study_id)
        .where(instance.c.sop_instance_uid.in_(sop_instance_uids), instance.c.file.is_not(None))
        .group_by(instance.c.study_id)
        .order_by(instance.c.study_id)
    )
    found = [(int(row[0]), int(row[1])) for row in connection.execute(newest)]
    for row, study_id in found:
        lock_study(connection, study_id)  # its report may just be enqueued, by who does not see the release
        connection.execute(sa.delete(released).where(released.c.instance_id == row))
        connection.execute(sa.insert(released).values(instance_id=row, at=now))
    return found
