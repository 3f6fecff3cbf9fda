"""What the operating system says of a folder as it happens. It may keep silent: see `folder_watch`."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any, Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

__all__ = ["Notices"]

logger = logging.getLogger(__name__)

# What opening and reading brings is not among them: we read ourselves.
_EVENTS: Final = (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
)
# More at once are left to the next look over the whole folder.
_MOST: Final = 100_000


class Notices(FileSystemEventHandler):
    """Paths in a folder at which something happened.

    Parameters
    ----------
    folder : Path
        Need not be there yet.
    wake : Event
        Set whenever there is a path.
    """

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        self._folder = folder
        self._wake = wake
        self._paths: set[str] = set()
        self._lock = threading.Lock()
        self._observer: Any = None
        self._observed: tuple[int, int] | None = None

    def attach(self) -> None:
        """Listen to the folder that is there now: perhaps another than before, as a share mounted anew."""
        try:
            found = self._folder.stat()
        except OSError:
            self.detach()
            return
        identity = (found.st_dev, found.st_ino)
        if identity == self._observed and self._observer is not None and self._observer.is_alive():
            return
        self.detach()
        observer = Observer()
        # Absolute, so that a path is as a look over the folder gives it; by the slash a link is followed.
        folder = os.path.join(self._folder.absolute(), "")  # noqa: PTH118
        try:
            observer.schedule(self, folder, recursive=True, event_filter=list(_EVENTS))
            observer.start()
        except OSError as error:  # such as the limit of inotify
            logger.warning(
                "no events of %s: %s; it is looked over from time to time", self._folder, error.strerror
            )
            return
        self._observer, self._observed = observer, identity

    def detach(self) -> None:
        """Listen no more."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        self._observer = self._observed = None

    def take(self) -> set[str]:
        """Give the paths since the last time."""
        with self._lock:
            paths, self._paths = self._paths, set()
        return paths

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Remember where it happened; of what was moved, where it is now."""
        with self._lock:
            if len(self._paths) < _MOST:
                self._paths.add(os.fsdecode(event.dest_path or event.src_path))
        self._wake.set()
