"""When a file is complete: nothing of it changes any more, and nobody is still writing it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Final

from cxr_pacs.gateway.watch.tree import FileState

__all__ = ["Settling", "open_for_writing"]

# Files that are looked at together.
_AT_ONCE: Final = 64
_PROCESSES: Final = "/proc"


class Settling:
    """Files that may still be changing.

    Parameters
    ----------
    stable : float
        Seconds for which size and time of modification must stay as they are.
    being_written : callable
        Gives those of some paths that a process has open for writing, as far as the system tells.
    """

    def __init__(self, stable: float, being_written: Callable[[Collection[str]], Collection[str]]) -> None:
        self._stable = stable
        self._being_written = being_written
        # In the order of when they are looked at again.
        self._waiting: dict[str, tuple[FileState, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def notice(self, path: str, state: FileState, now: float) -> None:
        """Begin to wait for a file, unless it is waited for."""
        self._waiting.setdefault(path, (state, now))

    @property
    def due(self) -> float:
        """When the next file is to be looked at; infinite where none is waited for."""
        return next((since + self._stable for _, since in self._waiting.values()), float("inf"))

    def settled(self, now: float) -> list[tuple[str, FileState]]:
        """Give some of the files that have become complete, and wait for them no more."""
        unchanged: dict[str, FileState] = {}
        while self.due <= now and len(unchanged) < _AT_ONCE:
            path, (before, _) = next(iter(self._waiting.items()))
            del self._waiting[path]
            try:
                state = FileState.of(os.stat(path))  # noqa: PTH116
            except OSError:  # removed; or the next look over the whole folder tells
                continue
            if state == before:
                unchanged[path] = state
            else:
                self._waiting[path] = (state, now)
        for path in self._being_written(unchanged.keys()) if unchanged else ():
            self._waiting[path] = (unchanged.pop(path), now)
        return list(unchanged.items())


def open_for_writing(paths: Collection[str]) -> set[str]:
    """Those of the paths that a process has open for writing, of the processes that we may look into."""
    real = {os.path.realpath(path): path for path in paths}
    found = set()
    for process in _names(_PROCESSES):
        if process.isdigit():
            for number in _names(f"{_PROCESSES}/{process}/fd"):
                target = _target(f"{_PROCESSES}/{process}/fd/{number}")
                if target in real and _writes(f"{_PROCESSES}/{process}/fdinfo/{number}"):
                    found.add(real[target])
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:  # it ended, or is another user's
        return []


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115
    except OSError:
        return ""


def _writes(information: str) -> bool:
    try:
        with open(information, encoding="ascii") as lines:  # noqa: PTH123
            flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
    except OSError:
        return False
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
