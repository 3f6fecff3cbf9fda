"""What became of each file of a watched folder, in the ledger: a restart reads nothing again for it.

Paths may tell a patient's name, and need not be UTF-8: the ledger has their SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.paths import path_digest
from cxr_pacs.gateway.tables import watched_file
from cxr_pacs.gateway.watch.file_intake import Outcome
from cxr_pacs.gateway.watch.tree import FileState

__all__ = ["UNREADABLE", "Record", "forget_removed"]

UNREADABLE: Final = FileState(-1, 0)
"""In place of a file's state: like no state that a file can have, so that it is tried again."""

# Older databases take no more than 999 parameters in one statement.
_AT_ONCE: Final = 500


class Record:
    """The files of one watched folder.

    Parameters
    ----------
    ledger : Ledger
    watch : str
        The folder's name in the settings.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(self, ledger: Ledger, watch: str, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._watch = watch
        self._clock = clock
        self._known: dict[str, tuple[FileState, Outcome]] = {}
        self._unwritten: dict[str, dict[str, Any]] = {}

    def load(self) -> None:
        """Take over what an earlier process recorded."""
        query = sa.select(watched_file).where(watched_file.c.watch == self._watch)
        with self._ledger.begin() as connection:
            self._known = {row.path_digest: _known(row) for row in connection.execute(query)}

    def outcome(self, path: str, state: FileState) -> Outcome | None:
        """Tell what became of the file, if it was in that state then."""
        known = self._known.get(path_digest(path))
        return known[1] if known is not None and known[0] == state else None

    def is_taken(self, path: str) -> bool:
        """Whether the file was taken in, in whatever state."""
        known = self._known.get(path_digest(path))
        return known is not None and known[1].state == "taken"

    def put(self, path: str, state: FileState, outcome: Outcome) -> bool:
        """Know what became of a file, to be written by `flush`; False where that is known already."""
        key, known = path_digest(path), (state, outcome)
        if self._known.get(key) == known:
            return False
        values = {
            "path_digest": key,
            "watch": self._watch,
            "size": state.size,
            "modified": state.modified,
            "at": self._clock(),
            "state": outcome.state,
            "reason": outcome.reason,
            "digest": outcome.digest,
        }
        self._known[key] = known
        self._unwritten[key] = values
        return True

    def flush(self) -> None:
        """Write what is known since the last time, together; a process that dies before reads it again."""
        if not self._unwritten:
            return
        with self._ledger.begin() as connection:
            new = insert_into(connection, watched_file)
            values = {column.name: new.excluded[column.name] for column in watched_file.c}
            connection.execute(
                new.on_conflict_do_update(index_elements=["path_digest"], set_=values),
                list(self._unwritten.values()),
            )
        self._unwritten.clear()

    def forget(self, paths: Collection[str]) -> None:
        """Forget files that are there no more."""
        self._delete([path_digest(path) for path in paths])

    def forget_others(self, present: Collection[str]) -> None:
        """Forget all but the files with these path digests."""
        self._delete([key for key in self._known if key not in present])

    def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            with self._ledger.begin() as connection:
                connection.execute(sa.delete(watched_file).where(watched_file.c.path_digest.in_(some)))
            for key in some:
                self._known.pop(key, None)
                self._unwritten.pop(key, None)


def forget_removed(ledger: Ledger, watches: Collection[str]) -> None:
    """Forget what was not taken in from folders but these, by name: nobody mends it there any more."""
    left = (watched_file.c.state != "taken", watched_file.c.watch.not_in(watches))
    with ledger.begin() as connection:
        connection.execute(sa.delete(watched_file).where(*left))


def _known(row: Any) -> tuple[FileState, Outcome]:
    outcome = Outcome(state=row.state, reason=row.reason, digest=row.digest)
    return FileState(row.size, row.modified), outcome
