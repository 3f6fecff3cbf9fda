"""When a study is complete enough to report.

::

    quiet      no image for the quiet period of the sender of the newest one
    released   or, sooner, some seconds after the association that brought it was released
    longest    at the latest so long after the first image that no report says

A release is known to the ledger; where a crash lost one, the quiet period decides. Where the clock was set
back, that begins anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.tables import instance, released, rerun, study
from cxr_pacs.settings import StudySettings

__all__ = ["OpenStudy", "due_at", "hasten_reports", "resettle_reports", "until_due"]

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
    """

    first: float
    newest: float
    source: str
    released: float | None
    undecided: bool


def due_at(waiting: OpenStudy, settings: StudySettings) -> float:
    """When the study is reported at the latest, if nothing more comes; seconds since the epoch."""
    latest = waiting.first + settings.longest_wait
    if waiting.undecided:
        return latest
    quiet = waiting.newest + settings.quiet_period_of.get(waiting.source, settings.quiet_period)
    if waiting.released is not None:
        quiet = min(quiet, waiting.released + settings.after_release)
    return min(quiet, latest)


def until_due(connection: sa.Connection, study_id: int, settings: StudySettings, now: float) -> float:
    """Seconds until the study is to be reported; not positive when that is now, or nothing is left.

    A newest image that came later than `now`, before the clock was set back, is taken to have come now.
    """
    waiting = _open_study(connection, study_id)
    if waiting is None:
        return 0.0
    if waiting.newest > now:
        connection.execute(sa.update(study).where(study.c.id == study_id).values(last_arrival=now))
        waiting = replace(waiting, newest=now)
    delay = due_at(waiting, settings) - now
    # Longer than that is a first image from before the clock was set back.
    return delay if delay <= settings.longest_wait else 0.0


def hasten_reports(
    ledger: Ledger, queue: Queue, settings: StudySettings, sop_instance_uids: tuple[str, ...], now: float
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


def resettle_reports(ledger: Ledger, queue: Queue, settings: StudySettings, now: float) -> None:
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


def _open_study(connection: sa.Connection, study_id: int) -> OpenStudy | None:
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
    newest_at = connection.execute(sa.select(study.c.last_arrival).where(study.c.id == study_id)).scalar_one()
    # A double that intake held does not count.
    arrivals = [row for row in rows if row.rung != "sop-instance-uid"] or rows
    newest = max(arrivals, key=lambda row: row.id)
    asked_again = sa.select(sa.func.max(rerun.c.asked_at)).where(
        rerun.c.study_id == study_id, rerun.c.done_at.is_(None)
    )
    return OpenStudy(
        first=max(unreported[0].received_at, connection.execute(asked_again).scalar() or 0.0),
        newest=newest_at,
        source=newest.source,
        released=newest.at,
        undecided=any(row.decision is None for row in rows),
    )


def _record_release(
    connection: sa.Connection, sop_instance_uids: tuple[str, ...], now: float
) -> list[tuple[int, int]]:
    """Note the release at the newest image of each study; ids of these images and of their studies."""
    newest = (
        sa.select(sa.func.max(instance.c.id), instance.c.study_id)
        .where(instance.c.sop_instance_uid.in_(sop_instance_uids), instance.c.file.is_not(None))
        .group_by(instance.c.study_id)
    )
    found = [(int(row[0]), int(row[1])) for row in connection.execute(newest)]
    for row, _ in found:
        connection.execute(sa.delete(released).where(released.c.instance_id == row))
        connection.execute(sa.insert(released).values(instance_id=row, at=now))
    return found
