"""A folder watch: what is dropped into a folder is taken in, each file once it is complete.

Events tell at once what happened, but not always: queues run over, shares tell nothing, links lead elsewhere.
So the whole folder is looked over at the start and again and again; events only shorten the wait.

::

    events ──▶ settling ─▶ file intake ─▶ Intake.receive
    rescan ───────┘             └─▶ record (what became of it) ─▶ done/, failed/ where they are wanted
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final

from cxr_pacs.errors import SpoolFull, SpoolUnavailable, UnreadableMedium, kind_and_place
from cxr_pacs.gateway.file_set import is_dicomdir_name
from cxr_pacs.gateway.paths import path_digest, short_name
from cxr_pacs.gateway.watch.file_intake import FileIntake, Outcome, StillChanging, check_file_set
from cxr_pacs.gateway.watch.filing import put_away
from cxr_pacs.gateway.watch.noticing import Notices
from cxr_pacs.gateway.watch.record import UNREADABLE, Record
from cxr_pacs.gateway.watch.settling import Settling, open_for_writing
from cxr_pacs.gateway.watch.tree import FileState, Sighting, Tree
from cxr_pacs.watching import DONE, FAILED, WatchSettings

__all__ = ["FolderWatch"]

logger = logging.getLogger(__name__)

# Seconds between two looks at what events told, and after a failure before the next try.
_BREATH: Final = 0.05
_PAUSE: Final = 5.0
# Seconds after which what is not taken in is moved: a writer that pauses for long may still go on with it.
_SECOND_THOUGHTS: Final = 60.0


class FolderWatch:
    """Takes in the files of one folder, in a thread of its own.

    Parameters
    ----------
    settings : WatchSettings
        The folder.
    intake : FileIntake
        Takes a file.
    record : Record
        Knows what became of each.
    """

    def __init__(self, settings: WatchSettings, intake: FileIntake, record: Record) -> None:
        self._settings = settings
        self._intake = intake
        self._record = record
        self._tree = Tree(settings.folder, {DONE, FAILED} if settings.move else ())
        self._settling = Settling(settings.stable, open_for_writing)
        self._wake = threading.Event()
        self._notices = Notices(settings.folder, self._wake) if settings.notice == "events" else None
        self._rescan_at = -float("inf")
        self._is_there = True
        # Which folder the files that are known lie in: while a share is not mounted another one has its name.
        self._holder: tuple[int, int] | None = None
        # Files that are not taken in and are to be moved, and since when.
        self._left: dict[str, float] = {}
        # Files that could not be moved, as the log says once.
        self._unmoved: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=settings.source, daemon=True)

    def start(self) -> None:
        """Begin with a look over the whole folder."""
        logger.info("%s: %s, by %s", self._settings.source, self._settings.folder, self._settings.notice)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """End after the file that is being taken in, and wait `grace` seconds for that."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(grace)

    def _run(self) -> None:
        loaded = False
        while not self._stopped.is_set():
            try:
                if not loaded:
                    self._record.load()
                    loaded = True
                self._once()
                self._record.flush()
            except Exception as error:  # noqa: BLE001  top of a thread: the next look may succeed
                self._tell(error)
                self._rescan_at = -float("inf")
                self._stopped.wait(_PAUSE)
                continue
            wait = min(self._settling.due, self._rescan_at) - time.monotonic()
            if wait > 0 and self._wake.wait(wait):
                self._stopped.wait(_BREATH)
        if self._notices is not None:
            self._notices.detach()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, SpoolUnavailable):
            if not isinstance(error, SpoolFull):  # the log says once when it begins and when it ends
                logger.warning("%s: nothing is taken in: %s", self._settings.source, error)
        else:
            logger.error("%s: %s", self._settings.source, kind_and_place(error))

    def _once(self) -> None:
        self._wake.clear()
        if time.monotonic() >= self._rescan_at:
            self._rescan()
            self._rescan_at = time.monotonic() + self._settings.rescan
        for path in self._notices.take() if self._notices is not None else ():
            for sighting in self._tree.at(path):
                self._see(sighting)
        for path, state in self._settling.settled(time.monotonic()):
            if self._stopped.is_set():
                return
            self._take(path, state)

    def _rescan(self) -> None:
        """Look over the whole folder, and forget what is not there any more."""
        if self._notices is not None:
            self._notices.attach()
        present, is_whole = set(), True
        try:
            before = self._tree.identity
            for sighting in self._tree.files():
                if self._stopped.is_set():
                    return
                present.add(path_digest(sighting.path))
                is_whole &= not sighting.hides
                self._see(sighting)
            is_whole &= self._tree.identity == before
        except OSError as error:
            if self._is_there:
                logger.error(  # noqa: TRY400  its text says it all
                    "%s: the folder cannot be read: %s; it is waited for",
                    self._settings.source,
                    error.strerror,
                )
            self._is_there = False
            return
        if not self._is_there:
            logger.warning("%s: the folder is there again", self._settings.source)
            self._is_there = True
        if is_whole and (present or before == self._holder):
            self._holder = before
            self._record.forget_others(present)

    def _see(self, sighting: Sighting) -> None:
        if sighting.refusal is not None:
            self._conclude(sighting.path, UNREADABLE, Outcome(state="refused", reason=sighting.refusal))
        elif sighting.fault is not None:
            if not self._record.is_taken(sighting.path):  # such a one need not be read
                self._conclude(sighting.path, UNREADABLE, Outcome(state="failed", reason=sighting.fault))
        elif sighting.state is None:
            pass  # a folder that went meanwhile
        elif (outcome := self._record.outcome(sighting.path, sighting.state)) is None:
            self._settling.notice(sighting.path, sighting.state, time.monotonic())
        elif self._settings.move:
            self._put_away_in_time(sighting.path, sighting.state, outcome)

    def _take(self, path: str, state: FileState) -> None:
        try:
            outcome = self._intake.take(path, state)
            if is_dicomdir_name(Path(path).name) and not self._settings.move:  # what was moved is not missing
                check_file_set(path)
        except StillChanging:
            self._settling.notice(path, state, time.monotonic())
        except FileNotFoundError:
            pass  # removed, or renamed: then it is seen under its new name
        except OSError as error:
            reason = f"It cannot be read: {error.strerror}."
            self._conclude(path, UNREADABLE, Outcome(state="failed", reason=reason))
        except UnreadableMedium as error:  # which other files may mend
            self._conclude(path, UNREADABLE, Outcome(state="failed", reason=str(error)))
        except SpoolUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  top of the work on one file: others have no part in it
            reason = f"It cannot be read: {kind_and_place(error)}."
            self._conclude(path, UNREADABLE, Outcome(state="failed", reason=reason))
        else:
            self._conclude(path, state, outcome)

    def _conclude(self, path: str, state: FileState, outcome: Outcome) -> None:
        if self._record.put(path, state, outcome):
            level = logging.WARNING if outcome.state == "failed" else logging.INFO
            file = short_name(path)
            logger.log(
                level, "%s: file %s: %s %s", self._settings.source, file, outcome.state, outcome.reason or ""
            )
        if self._settings.move and state != UNREADABLE:
            self._left.pop(path, None)
            self._put_away_in_time(path, state, outcome)

    def _put_away_in_time(self, path: str, state: FileState, outcome: Outcome) -> None:
        """Move a file at once, or one that is not taken in when it has been as it is for long enough."""
        now = time.monotonic()
        if outcome.state == "taken" or now - self._left.setdefault(path, now) >= _SECOND_THOUGHTS:
            self._left.pop(path, None)
            self._put_away(path, state, outcome)

    def _put_away(self, path: str, state: FileState, outcome: Outcome) -> None:
        try:
            put_away(self._tree.root, path, state, outcome)
        except StillChanging:
            pass  # another one has its name now, which the next look sees
        except OSError as error:
            if path not in self._unmoved:
                self._unmoved.add(path)
                file = short_name(path)
                logger.warning("%s: file %s is not moved: %s", self._settings.source, file, error.strerror)
        else:
            self._unmoved.discard(path)
            self._record.forget([path])
