"""What fails and is tried again, an analysis or the report of a study, and when that is given up.

What nobody foresaw is given up after a few times. What may pass, of the disk, the database or a worklist, is
tried as long as a delivery, unless the original is gone, and not the disk with it. The ledger keeps the last
failure, so that `why` and `status` tell of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxr_pacs.errors import CxrPacsError, TransientError, kind_and_place
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.rerun import close_reruns, lock_study
from cxr_pacs.gateway.tables import failure

__all__ = ["FAILURES_AT_MOST", "Failure", "forget", "give_up_report", "hopeless", "note", "of_study", "said"]

# Of a kind that nobody foresaw; of any kind, after so many a person should look.
FAILURES_AT_MOST: Final = 5
_GONE: Final = (
    "Its original is no longer in the spool: send the very same object to this gateway again, which puts it "
    "back, and have the study read again (`cxr-pacs rerun`)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How often it failed in succession, first and last when (seconds since the epoch), and how last."""

    times: int
    since: float
    last: float
    reason: str

    @property
    def sentence(self) -> str:
        """How it failed."""
        return f"It failed {self.times} time(s), the last: {self.reason.removesuffix('.')}."


def said(error: Exception) -> str:
    """Describe an error without what may tell who a patient is."""
    return str(error) if isinstance(error, CxrPacsError) else kind_and_place(error)


def note(
    connection: sa.Connection, study_id: int, instance_id: int | None, reason: str, now: float
) -> Failure:
    """Record one more failure of an analysis, or with `instance_id` None of the study's report."""
    lock_study(connection, study_id)
    before = connection.execute(sa.select(failure).where(_of(study_id, instance_id))).first()
    noted = Failure(
        times=before.times + 1 if before else 1,
        since=min(before.since, now)
        if before
        else now,  # later than now is from before the clock was set back
        last=now,
        reason=reason,
    )
    forget(connection, study_id, instance_id)
    connection.execute(sa.insert(failure).values(study_id=study_id, instance_id=instance_id, **asdict(noted)))
    return noted


def forget(connection: sa.Connection, study_id: int, instance_id: int | None) -> None:
    """Record that it is done, or given up."""
    connection.execute(sa.delete(failure).where(_of(study_id, instance_id)))


def of_study(connection: sa.Connection, study_id: int) -> dict[int | None, Failure]:
    """Give the failures of a study's analyses by the instance's id, and that of its report under None."""
    rows = connection.execute(sa.select(failure).where(failure.c.study_id == study_id))
    return {
        row.instance_id: Failure(times=row.times, since=row.since, last=row.last, reason=row.reason)
        for row in rows
    }


def hopeless(error: Exception, failed: Failure, originals: Iterable[Path], patience: float) -> str | None:
    """
    Say why it is not tried again; None where it is.

    Parameters
    ----------
    error : Exception
        The last one.
    failed : Failure
        What `note` gave for it.
    originals : iterable of Path
        The files that are needed.
    patience : float
        Seconds for which what may pass is tried.
    """
    if isinstance(error, FileNotFoundError) and any(map(_is_gone, originals)):
        return _GONE
    if isinstance(error, (TransientError, OSError, sa.exc.SQLAlchemyError)):
        given_up = failed.last - failed.since > patience
    else:
        given_up = failed.times >= FAILURES_AT_MOST
    return failed.sentence if given_up else None


def give_up_report(
    ledger: Ledger, connection: sa.Connection, study_id: int, problem: str, now: float
) -> None:
    """Record why the study has no (new) report, and that it waits for none."""
    forget(connection, study_id, None)
    ledger.set_problem(connection, study_id, problem)
    close_reruns(connection, study_id, now)


def _of(study_id: int, instance_id: int | None) -> sa.ColumnElement[bool]:
    return (failure.c.study_id == study_id) & failure.c.instance_id.is_not_distinct_from(instance_id)


def _is_gone(original: Path) -> bool:
    """Whether the file is gone, and not the disk that it was on."""
    return not os.path.lexists(original) and original.parent.is_dir()
