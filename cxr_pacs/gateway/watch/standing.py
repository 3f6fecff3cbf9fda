"""How the watched folders stand, and what became of a file that a person names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.gateway.media import is_hidden
from cxr_pacs.gateway.paths import path_digest
from cxr_pacs.gateway.tables import instance, watched_file
from cxr_pacs.gateway.watch.filing import REASON
from cxr_pacs.settings import Settings
from cxr_pacs.watching import FAILED

__all__ = ["FileHistory", "WatchStanding", "file_histories", "watch_standings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStanding:
    """One watched folder, of the settings or of the ledger alone.

    Attributes
    ----------
    name : str
    problem : str or None
        Why it cannot be read now.
    elsewhere : bool
        Whether these settings do not have it and the database is shared: it is another host's, or was.
    taken, refused, failed : int
        Files in it; of the failed ones also those that were moved to ``failed``.
    last_reason : str or None
        Of the file that failed last and is in its place.
    """

    name: str
    problem: str | None
    elsewhere: bool
    taken: int
    refused: int
    failed: int
    last_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHistory:
    """What became of a file.

    Attributes
    ----------
    path : Path
    sentence : str
    is_open : bool
        Whether it is not looked at yet, or could not be taken in and may be mended.
    sop_instance_uid : str or None
        Of the image that it brought.
    """

    path: Path
    sentence: str
    is_open: bool
    sop_instance_uid: str | None


def watch_standings(connection: sa.Connection, settings: Settings) -> tuple[WatchStanding, ...]:
    """Count the files of every watched folder, and look whether it can be read."""
    folders = {watch.name: watch for watch in settings.watch}
    is_shared = connection.dialect.name == "postgresql"
    query = sa.select(watched_file.c.watch, watched_file.c.state, sa.func.count())
    counts = {
        (row[0], row[1]): int(row[2])
        for row in connection.execute(query.group_by(watched_file.c.watch, watched_file.c.state))
    }
    found = []
    for name in sorted(folders.keys() | {name for name, _ in counts}):
        failed = sa.select(watched_file.c.reason).where(
            watched_file.c.watch == name, watched_file.c.state == "failed"
        )
        watch = folders.get(name)
        moved = watch.folder / FAILED if watch is not None and watch.move else None
        found.append(
            WatchStanding(
                name=name,
                problem=None if watch is None else _problem(watch.folder),
                elsewhere=watch is None and is_shared,
                taken=counts.get((name, "taken"), 0),
                refused=counts.get((name, "refused"), 0),
                failed=counts.get((name, "failed"), 0)
                + (sum(1 for _ in moved.rglob(f"*{REASON}")) if moved else 0),
                last_reason=connection.execute(failed.order_by(watched_file.c.at.desc()).limit(1)).scalar(),
            )
        )
    return tuple(found)


def file_histories(connection: sa.Connection, path: Path) -> Iterator[FileHistory]:
    """Tell what became of a file; of a folder, what became of each file in it that was not taken in whole."""
    alone = not path.is_dir()
    for file in [path.absolute()] if alone else _files(path.absolute()):
        query = sa.select(watched_file).where(watched_file.c.path_digest == path_digest(os.fspath(file)))
        row = connection.execute(query).first()
        if alone or (row is not None and (row.state != "taken" or row.reason is not None)):
            yield _history(connection, file, row)


def _history(connection: sa.Connection, file: Path, row: sa.Row[tuple[object, ...]] | None) -> FileHistory:
    uid = None
    if row is None:
        sentence = "Nothing is known of it: it is in no watched folder, or was not looked at yet."
    elif row.state == "taken":
        query = sa.select(instance.c.sop_instance_uid).where(instance.c.digest == row.digest)
        uid = connection.execute(query).scalar()
        sentence = "It was taken in." if row.reason is None else f"It was taken in. {row.reason}"
    else:
        said = "could not be taken in" if row.state == "failed" else "is nothing for this gateway"
        sentence = f"It {said}: {row.reason}"
    is_open = row is None or row.state == "failed"
    return FileHistory(path=file, sentence=sentence, is_open=is_open, sop_instance_uid=uid)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(here, name) for name in sorted((*names, *folders)) if not is_hidden(name))


def _problem(folder: Path) -> str | None:
    try:
        with os.scandir(folder):
            return None
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"
