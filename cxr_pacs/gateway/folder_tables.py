"""Tables in a folder that is a destination: one JSON document for each study, one CSV line for each image.

They are copies of what the ledger says, written again whenever it says something else, so that nothing needs
to be remembered of them: a file that is lost or that could not be written is written at the next start.
"""

from __future__ import annotations

import csv
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import sqlalchemy as sa
from pydicom import dcmread

from cxr_pacs.database import one_at_a_time
from cxr_pacs.errors import DestinationUnavailable, kind_and_place
from cxr_pacs.gateway.folder import study_folder, writable_folder, write_whole
from cxr_pacs.gateway.routing import OBJECT_NAMES, Routes
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.tables import delivery, instance, result, study
from cxr_pacs.settings import FolderDestination

__all__ = ["FolderTables"]

logger = logging.getLogger(__name__)

NOTICE: Final = "AI-derived, not a diagnosis"
# Seconds between two looks at the ledger: doubled while nothing is new, longer where a look takes long.
_SHORTEST, _LONGEST, _SHARE = 2.0, 32.0, 10.0
_COLUMNS: Final = (
    *("study_instance_uid", "sop_instance_uid", "source", "received_at"),
    *("decision", "rung", "reason", "reported"),
)
_ROWS_AT_ONCE: Final = 500


class FolderTables:
    """Writes the tables of one folder, in a thread of its own.

    Parameters
    ----------
    site : Site
        What the ledger says, and the routes: the tables tell of the studies whose results may go there, of
        all where no route to it asks for a source.
    settings : FolderDestination
        The folder.
    """

    def __init__(self, site: Site, settings: FolderDestination) -> None:
        self._ledger = site.ledger
        self._spool = site.spool
        self._settings = settings
        self._sources = Routes(site.settings).sources_to(settings.name)
        # What the ledger said of each study when its document was written.
        self._written: dict[int | None, tuple[object, ...]] = {}
        # Whether the lines tell less than the documents: then they are written at the next look.
        self._lines_are_old = False
        # Of the scores, as they appear.
        self._columns: dict[tuple[str, str], None] = {}
        self._problem = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tables {settings.name}", daemon=True)

    def start(self) -> None:
        """Begin at once."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is new a last time, and end."""
        self._stopped.set()
        self._thread.join()

    def once(self) -> bool:
        """Write what is new; whether anything was.

        Raises
        ------
        OSError, DestinationUnavailable
            The folder did not take it.
        """
        writable_folder(self._settings.folder)
        with self._ledger.begin() as connection:
            if self._ledger.is_shared:  # with others that write the same files
                one_at_a_time(connection, f"tables of {self._settings.name}")
            states = self._states(connection)
            changed = [key for key, state in states.items() if self._written.get(key) != state]
            self._lines_are_old |= bool(changed)
            for study_id in changed:
                if study_id is not None:
                    self._write_document(connection, study_id)
                self._written[study_id] = states[study_id]
            if self._lines_are_old:
                self._write_lines(connection)
                self._lines_are_old = False
        return bool(changed)

    def _run(self) -> None:
        wait, last = 0.0, False
        while not last:
            last = self._stopped.wait(wait)
            began = time.monotonic()
            try:
                new, problem = self.once(), ""
            except (OSError, DestinationUnavailable) as error:
                new, problem = False, getattr(error, "strerror", None) or str(error)
            except Exception as error:  # noqa: BLE001  top of a thread: the next look may succeed
                new, problem = False, kind_and_place(error)
            if problem and problem != self._problem:
                logger.warning("the tables of %s are not written: %s", self._settings.name, problem)
            self._problem = problem
            least = max(_SHORTEST, _SHARE * (time.monotonic() - began))
            wait = least if new else max(least, min(2 * wait, _LONGEST))

    def _states(self, connection: sa.Connection) -> dict[int | None, tuple[object, ...]]:
        """Give, by the study, what changes when its document does; what is of no study counts as one."""
        query = sa.select(
            instance.c.study_id,
            sa.func.max(instance.c.id),
            sa.func.count(instance.c.decision),
            sa.func.count(sa.case((instance.c.reported, 1))),
            sa.func.sum(sa.func.length(instance.c.reason)),
        ).where(*self._of_sources())
        of_it = (delivery.c.destination == self._settings.name) & (delivery.c.state == "delivered")
        taken = (
            sa.select(result.c.study_id, sa.func.count())
            .join(delivery, delivery.c.result_id == result.c.id)
            .where(of_it)
            .group_by(result.c.study_id)
        )
        counts = {row[0]: row[1] for row in connection.execute(taken)}
        failed = set(connection.execute(sa.select(study.c.id).where(study.c.problem.is_not(None))).scalars())
        return {
            row[0]: (*row[1:], counts.get(row[0], 0), row[0] in failed)
            for row in connection.execute(query.group_by(instance.c.study_id))
        }

    def _of_sources(self) -> Sequence[sa.ColumnElement[bool]]:
        return () if self._sources is None else (instance.c.source.in_(sorted(self._sources)),)

    def _write_document(self, connection: sa.Connection, study_id: int) -> None:
        whole = connection.execute(sa.select(study).where(study.c.id == study_id)).one()
        rows = connection.execute(
            sa.select(instance).where(instance.c.study_id == study_id).order_by(instance.c.id)
        ).all()
        self._columns |= {(one["head"], one["label"]): None for row in rows for one in _scores(row.findings)}
        taken = connection.execute(
            sa.select(result)
            .join(delivery, delivery.c.result_id == result.c.id)
            .where(
                result.c.study_id == study_id,
                delivery.c.destination == self._settings.name,
                delivery.c.state == "delivered",
            )
            .order_by(result.c.id)
        )
        document = {
            "notice": NOTICE,
            "study_instance_uid": whole.study_instance_uid,
            "problem": whole.problem,
            "instances": [_told(row) for row in rows],
            "objects": [
                {"object": OBJECT_NAMES[one.kind], "file": f"{one.sop_instance_uid}.dcm"} for one in taken
            ],
        }
        folder = self._folder(whole.study_instance_uid, [row.file for row in rows if row.file])
        if folder is not None:
            target = folder / "study.json"
            content = f"{json.dumps(document, indent=1)}\n".encode()
            if not (target.is_file() and target.read_bytes() == content):
                write_whole(target, content)

    def _folder(self, uid: str, originals: Iterable[str]) -> Path | None:
        """Find the study's folder; None where its name would tell what only a removed original says."""
        if not self._settings.identity_in_names:
            return self._settings.folder / uid
        for file in originals:
            path = self._spool.path(file)
            if path.is_file():
                header = dcmread(path, stop_before_pixels=True)
                return self._settings.folder / study_folder(header, self._settings)
        return None

    def _write_lines(self, connection: sa.Connection) -> None:
        query = (
            sa.select(instance, study.c.study_instance_uid)
            .outerjoin(study, study.c.id == instance.c.study_id)
            .where(*self._of_sources())
            .order_by(instance.c.id)
        )
        with _replacing(self._settings.folder / "instances.csv") as file:
            writer = csv.writer(file)
            writer.writerow([*_COLUMNS, *(f"{head}.{label}" for head, label in self._columns)])
            for row in connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
                told = _told(row) | {"study_instance_uid": row.study_instance_uid}
                scores = told["scores"]
                writer.writerow(
                    [
                        *(told[name] for name in _COLUMNS),
                        *(scores.get(head, {}).get(label, "") for head, label in self._columns),
                    ]
                )


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """Open a file that takes the place of `target` once it is whole."""
    partial = target.with_name(f".{target.stem}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _told(row: Any) -> dict[str, Any]:
    """Tell what the ledger says of an image: scores, or in place of one that is withheld the reason."""
    scores: dict[str, dict[str, float]] = {}
    for one in _scores(row.findings):
        scores.setdefault(one["head"], {})[one["label"]] = round(one["score"], 6)
    withheld: dict[str, dict[str, str]] = {}
    for one in (row.findings or {}).get("withheld", ()):
        withheld.setdefault(one["head"], {})[one["label"]] = one["reason"]
    return {
        "sop_instance_uid": row.sop_instance_uid,
        "source": row.source,
        "received_at": datetime.fromtimestamp(row.received_at, UTC).isoformat(timespec="seconds"),
        "decision": row.decision,
        "rung": row.rung,
        "reason": row.reason,
        "reported": row.reported,
        "scores": scores,
        "withheld": withheld,
        "quality": list(row.quality or ()),
    }


def _scores(findings: Any) -> Sequence[dict[str, Any]]:
    return findings["scores"] if findings else ()
