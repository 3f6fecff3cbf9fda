"""A folder of worklist files, watched: the form that DCMTK's wlmscpfs and Orthanc's worklist plugin read."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from cxr_pacs.errors import RefusedItem, kind_and_place
from cxr_pacs.gateway.paths import short_name
from cxr_pacs.worklist import Worklist, WorklistItem
from cxr_pacs.worklist.files import read_dicom
from cxr_pacs.worklist.watched_files import Signature, drop_file, put_file, taken_files

__all__ = ["WorklistFolder"]

logger = logging.getLogger(__name__)

# Seconds for which a file must stay as it is before it is read.
_SETTLED: Final = 1.0
# Seconds for which events are gathered.
_GATHER: Final = 0.1
# Files of one transaction.
_BATCH: Final = 100
# The origin of an item has 255 characters.
_LONGEST_NAME: Final = 250
# Without those of reading, which would call for another look.
_EVENTS: Final = [FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent]


class _Waking(FileSystemEventHandler):
    def __init__(self, woken: threading.Event) -> None:
        self._woken = woken

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002  any of `_EVENTS`
        self._woken.set()


class WorklistFolder:
    """Keeps the worklist as the folder is, in a thread of its own, from `start` to `stop`.

    A file is taken once it has stayed the same for a second and is whole; until then its item stays as it
    was. Of two files with the same order and step the one that was there first holds it. The log names a file
    by the digest of its path.

    Parameters
    ----------
    folder : Path
        With its subfolders; only names that end with ``.wl`` count.
    worklist : Worklist
    rescan : float
        Seconds between two looks when the system tells of no change.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self, folder: Path, worklist: Worklist, rescan: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._worklist = worklist
        self._rescan = rescan
        self._clock = clock
        # Since when each file is as it is, on the monotonic clock.
        self._seen: dict[str, tuple[Signature, float]] = {}
        self._refused: dict[str, Signature] = {}
        # Files that are tried again at each look, as their hindrance may end without a change of theirs.
        self._waiting: dict[str, Signature] = {}
        self._trouble = ""
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worklist-folder", daemon=True)
        self._observer: Any = Observer()

    def start(self) -> None:
        """Begin with a look at what is there, and at what has gone since the last time."""
        try:
            self._observer.schedule(
                _Waking(self._woken), str(self._folder), recursive=True, event_filter=_EVENTS
            )
            self._observer.start()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            said = "worklist.folder: no events (%s): it is looked at every %g s only"
            logger.warning(said, reason, self._rescan)
        self._thread.start()

    def stop(self) -> None:
        """End; a look that has begun is waited for."""
        self._stopped.set()
        self._woken.set()
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            waiting = False
            try:
                waiting = self.look()
            except Exception as error:  # noqa: BLE001  top of a thread: the next look may succeed
                self._say(kind_and_place(error))
            if self._woken.wait(_SETTLED if waiting else self._rescan):
                self._stopped.wait(_GATHER)
                self._woken.clear()

    def look(self) -> bool:
        """Take what is new or changed, and cancel what is gone; whether a file may still be being written."""
        try:
            present = dict(self._present())
        except OSError as error:
            # An absent folder, as of a share that is not mounted, cancels nothing.
            self._say(f"it cannot be read: {error.strerror}")
            return False
        with self._worklist.begin() as connection:
            taken = taken_files(connection)
        if len(taken) > 1 and not present and not any(self._folder.iterdir()):
            # As where a share is not mounted; a worklist ends otherwise, or one file after the other.
            self._say(f"nothing at all is there, of {len(taken)} files before: their items stay")
            return False
        for name in sorted(taken.keys() - present.keys()):
            with self._worklist.begin() as connection:
                drop_file(connection, name, self._clock())
            logger.info("worklist.folder: file %s is gone", self._shown(name))
        changed = {name: one for name, one in present.items() if taken.get(name) != one}
        self._refused = {name: one for name, one in self._refused.items() if changed.get(name) == one}
        self._waiting = {name: one for name, one in self._waiting.items() if changed.get(name) == one}
        new = {name: one for name, one in changed.items() if name not in self._refused}
        ready = sorted(name for name, one in new.items() if self._is_settled(name, one))
        self._seen = {name: seen for name, seen in self._seen.items() if name in new}
        for first in range(0, len(ready), _BATCH):
            self._take([(name, new[name]) for name in ready[first : first + _BATCH]])
        self._trouble = ""
        return len(ready) < len(new)

    def _present(self) -> Iterator[tuple[str, Signature]]:
        def fail(error: OSError) -> None:
            raise error

        for folder, _, names in os.walk(self._folder, onerror=fail):
            for name in names:
                if name.lower().endswith(".wl") and not name.startswith("."):
                    path = Path(folder, name)
                    try:
                        yield path.relative_to(self._folder).as_posix(), _signature(path)
                    except FileNotFoundError:
                        continue  # gone since it was listed

    def _is_settled(self, name: str, signature: Signature) -> bool:
        now = time.monotonic()
        seen, since = self._seen.get(name, (None, now))
        if seen != signature:
            self._seen[name] = (signature, now)
            return False
        return now - since >= _SETTLED

    def _take(self, files: Sequence[tuple[str, Signature]]) -> None:
        read = [(*file, found) for file in files if (found := self._read(*file))]
        done = completed = 0
        with self._worklist.begin() as connection:
            for one in read:
                put = put_file(self._worklist, connection, one, self._clock())
                if isinstance(put, str):
                    said = f"waits: it is the same order and step as file {self._shown(put)}"
                    self._try_again(*one[:2], said)
                else:
                    done += 1
                    completed += put.completed
        if done:
            logger.info("worklist.folder: %d file(s) taken", done)
        if completed:
            said = "worklist.folder: %d file(s) of completed steps: no query is answered with their items"
            logger.warning(said, completed)

    def _read(self, name: str, signature: Signature) -> WorklistItem | None:
        path = self._folder / name
        if len(name) > _LONGEST_NAME or not name.isprintable():
            said = f"its name has more than {_LONGEST_NAME} characters, or one that cannot be printed"
            self._refuse(name, signature, said)
            return None
        try:
            found = read_dicom(path.read_bytes())
            if _signature(path) == signature:
                return found
        except RefusedItem as error:
            self._refuse(name, signature, str(error))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._try_again(name, signature, f"cannot be read: {error.strerror}")
        return None

    def _try_again(self, name: str, signature: Signature, said: str) -> None:
        """Leave a file for the next look; say why once, until it changes."""
        if self._waiting.get(name) != signature:
            logger.warning("worklist.folder: file %s %s", self._shown(name), said)
            self._waiting[name] = signature

    def _refuse(self, name: str, signature: Signature, reason: str) -> None:
        """Leave a file, and say why, until it changes."""
        logger.warning("worklist.folder: file %s is not taken: %s", self._shown(name), reason)
        self._refused[name] = signature

    def _shown(self, name: str) -> str:
        """Name a file in the log; its own name may tell who it is."""
        return short_name(str(Path(self._folder, name).absolute()))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.warning("worklist.folder: %s: %s", self._folder, trouble)
            self._trouble = trouble


def _signature(path: Path) -> Signature:
    status = path.stat()
    return Signature(size=status.st_size, modified=status.st_mtime_ns)
