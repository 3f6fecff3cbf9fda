"""The journal of a folder of results: which files there are, and what became of each that is done.

A result is on the disk before the next step; so a process may end at any moment, and the next one goes on.
Two processes cannot hold one journal. It holds no identity but what stands in the names of files.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.bulk.outcome import FileOutcome, StudyOutcome
from cxr_pacs.gateway.media import MediaFile
from cxr_pacs.gateway.zip_members import ZipMember

__all__ = ["JOURNAL", "Count", "Journal", "Listed", "Row"]

JOURNAL = "journal.sqlite"

_AT_ONCE = 500  # rows in memory
_VERSION = 2
# `at`: the offset of a member, since two may have one name; as text, since a hostile one is of any size.
# `place`: among the files of the last run, NULL where that did not meet it. `digest`: under what it was read.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL, member TEXT NOT NULL, at TEXT NOT NULL, file TEXT NOT NULL,
    place INTEGER, digest TEXT, outcome TEXT, decision TEXT, rung TEXT, reason TEXT, error TEXT, study TEXT,
    UNIQUE (path, member, at)
);
CREATE INDEX IF NOT EXISTS by_place ON files (place);
CREATE INDEX IF NOT EXISTS by_study ON files (study);
CREATE TABLE IF NOT EXISTS reports (study TEXT PRIMARY KEY, images TEXT, objects TEXT, error TEXT);
CREATE TABLE IF NOT EXISTS accepted (sop_instance_uid TEXT PRIMARY KEY, content TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
"""
_DONE = "digest = :digest AND error IS NULL"
_TO_REPORT = "place IS NOT NULL AND decision = 'accept' AND files.error IS NULL AND files.study IS NOT NULL"


_FAILED_REPORT = (
    "SELECT 1 FROM reports JOIN files ON reports.study = files.study "  # noqa: S608
    f"WHERE reports.error IS NOT NULL AND {_TO_REPORT} LIMIT 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """How many files there are: all, done before, and done before with another model or other settings."""

    files: int
    done: int
    otherwise: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many files were decided so, for this reason, and the name of the first of them."""

    decision: str
    rung: str
    reason: str
    files: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file of this run, what became of it, and what its study's report made."""

    file: MediaFile
    outcome: FileOutcome | None
    report: tuple[str, ...] = ()
    report_error: str | None = None


class Journal:
    """Opened by ``with``; used by one thread.

    Parameters
    ----------
    folder : Path
        That of the results.
    digest : str
        Of model and settings, see `working_digest`.

    Raises
    ------
    ConfigurationError
        The folder cannot be written, its journal is in use, is none, or is of another version.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._digest = digest
        path = folder / JOURNAL
        try:
            self._database = sqlite3.connect(path, isolation_level=None, timeout=2)
            # Exclusive, the write-ahead log needs no shared memory, and so works on a network's folder too.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            is_new = not self._database.execute("SELECT 1 FROM sqlite_master").fetchone()
            if is_new or version == _VERSION:
                self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            reason = {"SQLITE_BUSY": "another process is working in this folder"}.get(
                getattr(error, "sqlite_errorname", ""), str(error)
            )
            raise ConfigurationError(f"{path}: the journal cannot be opened: {reason}") from error
        if not is_new and version != _VERSION:
            self._database.close()
            raise ConfigurationError(
                f"{path}: the journal is of another version of cxr-pacs: name a new folder"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def begin(self, files: Iterable[MediaFile]) -> Listed:
        """Note the files of this run; one that has changed since it was read is to be read again."""
        self._database.execute("BEGIN")
        self._database.execute("UPDATE files SET place = NULL WHERE place IS NOT NULL")
        self._database.executemany(
            "INSERT INTO files (path, member, at, file, place) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (path, member, at) DO UPDATE SET file = excluded.file, place = excluded.place, "
            "digest = CASE WHEN json_extract(file, '$.size') = json_extract(excluded.file, '$.size') "
            "AND json_extract(file, '$.stamp') = json_extract(excluded.file, '$.stamp') THEN digest END",
            (_written(file, place) for place, file in enumerate(files)),
        )
        self._database.execute("COMMIT")
        counts = self._database.execute(
            f"SELECT COUNT(*), SUM({_DONE}), SUM(digest <> :digest AND error IS NULL) "  # noqa: S608
            "FROM files WHERE place IS NOT NULL",
            {"digest": self._digest},
        ).fetchone()
        return Listed(files=counts[0], done=counts[1] or 0, otherwise=counts[2] or 0)

    def undone(self) -> Iterator[tuple[int, MediaFile]]:
        """Give the number and the file of each that is not done, in the order of the list."""
        place = -1
        while True:
            rows = self._database.execute(
                "SELECT id, place, path, file FROM files WHERE place > :place "  # noqa: S608
                f"AND ({_DONE}) IS NOT TRUE ORDER BY place LIMIT {_AT_ONCE}",
                {"digest": self._digest, "place": place},
            ).fetchall()
            if not rows:
                return
            for number, place, path, file in rows:  # noqa: B007  the next rows follow the last place
                yield number, _read(path, file)

    def claim(self, sop_instance_uid: str, content: str) -> bool:
        """Whether an image has this content, which is what was first claimed for it; on the disk."""
        self._database.execute(
            "INSERT OR IGNORE INTO accepted VALUES (?, ?)",
            (sop_instance_uid, content),
        )
        first = self._database.execute(
            "SELECT content FROM accepted WHERE sop_instance_uid = ?", (sop_instance_uid,)
        ).fetchone()
        return bool(first[0] == content)

    def record(self, number: int, outcome: FileOutcome) -> None:
        """Note what became of a file: on the disk when this returns."""
        decision = outcome.decision
        self._database.execute(
            "UPDATE files SET digest = ?, outcome = ?, decision = ?, rung = ?, reason = ?, error = ?, "
            "study = ? WHERE id = ?",
            (
                self._digest,
                outcome.to_json(),
                decision.outcome.value,
                decision.rung,
                decision.reason,
                outcome.error,
                None if outcome.research else outcome.study_instance_uid,
                number,
            ),
        )

    def count_undone(self) -> int:
        """Count the files that are not done."""
        query = f"SELECT COUNT(*) FROM files WHERE place IS NOT NULL AND ({_DONE}) IS NOT TRUE"  # noqa: S608
        return int(self._database.execute(query, {"digest": self._digest}).fetchone()[0])

    def unreported(self) -> list[str]:
        """Name each study that has accepted images in this run, and no report on just these."""
        studies = self._database.execute(
            "SELECT DISTINCT files.study, images, reports.error FROM files "  # noqa: S608
            f"LEFT JOIN reports ON reports.study = files.study WHERE {_TO_REPORT}"
        ).fetchall()
        return [
            study
            for study, reported, error in studies
            if error is not None or reported != self._identity(image for _, image in self.images(study))
        ]

    def images(self, study: str) -> list[tuple[MediaFile, FileOutcome]]:
        """Give the accepted images of a study in this run."""
        return [
            (row.file, row.outcome)
            for row in self._rows(f"{_TO_REPORT} AND files.study = ?", study)
            if row.outcome is not None
        ]

    def record_report(self, study: str, outcome: StudyOutcome) -> None:
        """Note what was made for a study, or why nothing was."""
        images = self._identity(image for _, image in self.images(study))
        self._database.execute(
            "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)",
            (study, images, json.dumps(outcome.objects), outcome.error),
        )

    def rows(self) -> Iterator[Row]:
        """Give every file of this run, in the order of the list."""
        return self._rows("place IS NOT NULL")

    def studies(self) -> list[str]:
        """Name each study of which there is an image in this run that is accepted."""
        query = f"SELECT DISTINCT study FROM files WHERE {_TO_REPORT} ORDER BY place"  # noqa: S608
        return [study for (study,) in self._database.execute(query)]

    def of_study(self, study: str) -> Iterator[Row]:
        """Give every file of a study in this run."""
        return self._rows("place IS NOT NULL AND files.study = ?", study)

    def counts(self) -> list[Count]:
        """Count the files of this run by what became of them, the most frequent first."""
        counted = self._database.execute(
            "SELECT decision, rung, reason, COUNT(*), json_extract(file, '$.name'), MIN(place) FROM files "
            "WHERE place IS NOT NULL AND outcome IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 4 DESC, 6"
        )
        return [
            Count(decision=decision, rung=rung, reason=reason, files=files, first=first)
            for decision, rung, reason, files, first, _ in counted
        ]

    def has_errors(self) -> bool:
        """Whether a file of this run could not be read, or a study not be reported."""
        return any(
            self._database.execute(query).fetchone()
            for query in (
                "SELECT 1 FROM files WHERE place IS NOT NULL AND error IS NOT NULL LIMIT 1",
                _FAILED_REPORT,
            )
        )

    def _rows(self, where: str, *values: str) -> Iterator[Row]:
        found = self._database.execute(
            "SELECT path, file, outcome, objects, reports.error FROM files "  # noqa: S608
            f"LEFT JOIN reports ON reports.study = files.study WHERE {where} ORDER BY place",
            values,
        )
        for path, file, outcome, objects, error in found:
            record = None if outcome is None else FileOutcome.from_json(outcome)
            reported = record is not None and record.accepted and not record.research
            yield Row(
                file=_read(path, file),
                outcome=record,
                report=tuple(json.loads(objects or "[]")) if reported else (),
                report_error=error if reported else None,
            )

    def _identity(self, images: Iterable[FileOutcome]) -> str:
        """Of a report: which images it is about, and how they were read."""
        contents = sorted({f"{image.sop_instance_uid} {image.content}" for image in images})
        return hashlib.sha256("|".join((self._digest, *contents)).encode()).hexdigest()


def _written(file: MediaFile, place: int) -> tuple[bytes, str, str, str, int]:
    fields = asdict(file)
    del fields["path"]
    name = file.member.name if file.member else ""
    # What a medium lacks has no other name than this.
    return (
        os.fsencode(file.path.absolute()),
        name or (file.name if file.fault else ""),
        str(file.member.offset) if file.member else "",
        json.dumps(fields),
        place,
    )


def _read(path: bytes, written: str) -> MediaFile:
    fields: dict[str, Any] = json.loads(written)
    member = fields.pop("member")
    return MediaFile(path=Path(os.fsdecode(path)), member=ZipMember(**member) if member else None, **fields)
