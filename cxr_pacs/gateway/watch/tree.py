"""The files of a watched folder: those that are meant for readers, and the folders that cannot be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_pacs.gateway.media import is_hidden

__all__ = ["FileState", "Sighting", "Tree"]


@dataclass(frozen=True, slots=True)
class FileState:
    """What of a file changes when its content does: size in bytes, time of modification in ns."""

    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileState:
        """Take it from what the file system says."""
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What lies at a path: a file, or why there is none to be had.

    Attributes
    ----------
    path : str
    state : FileState or None
        Of a file.
    fault : str or None
        One sentence, without a name, on what a person may mend.
    refusal : str or None
        One sentence on why it is passed over.
    hides : bool
        Whether it is a folder whose files are not seen; one that went meanwhile has no fault.
    """

    path: str
    state: FileState | None = None
    fault: str | None = None
    refusal: str | None = None
    hides: bool = False


class Tree:
    """Everything below a folder but hidden and temporary names, and what is no regular file.

    Links to files are followed. Links to folders are not, so that there are no loops, and nothing is moved
    that lies elsewhere; each is told.

    Parameters
    ----------
    root : Path
        The folder.
    left_out : collection of str
        Names in it that are passed over.
    """

    def __init__(self, root: Path, left_out: Collection[str]) -> None:
        self.root = os.fspath(root.absolute())
        self._left_out = frozenset(left_out)

    def is_meant(self, path: str) -> bool:
        """Whether no part of the path below the root is a name that is passed over."""
        parts = Path(os.path.relpath(path, self.root)).parts
        return not any(map(is_hidden, parts)) and self._left_out.isdisjoint(parts[:1])

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the root: others once a share is mounted or no more; OSError without it."""
        found = os.stat(self.root)  # noqa: PTH116
        return found.st_dev, found.st_ino

    def files(self) -> Iterator[Sighting]:
        """Look at all of them; OSError where the root itself cannot be listed."""
        with os.scandir(self.root):
            pass
        yield from self._below(self.root)

    def at(self, path: str) -> Iterator[Sighting]:
        """Look at one file, or at all below one folder; at nothing where nothing is there any more."""
        if not self.is_meant(path):
            return
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114  as many as there are files
            yield from self._below(path)
        else:
            yield from self._file(path)

    def _below(self, folder: str) -> Iterator[Sighting]:
        folders = [folder]
        while folders:
            here = folders.pop()
            try:
                with os.scandir(here) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                yield Sighting(path=here, hides=True)
                continue
            except OSError as error:
                fault = f"The folder cannot be read: {error.strerror}."
                yield Sighting(path=here, fault=fault, hides=True)
                continue
            for entry in listed:
                if is_hidden(entry.name) or (here == self.root and entry.name in self._left_out):
                    continue
                if _is_folder(entry):
                    folders.append(entry.path)
                else:
                    yield from self._file(entry.path)

    @staticmethod
    def _file(path: str) -> Iterator[Sighting]:
        try:
            found = os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(path):  # a link that leads nowhere
                yield _unreadable(path, error)
            return
        except OSError as error:
            yield _unreadable(path, error)
            return
        if stat.S_ISREG(found.st_mode):
            yield Sighting(path=path, state=FileState.of(found))
        elif stat.S_ISDIR(found.st_mode):
            refusal = "A link to a folder is not followed: watch that folder itself."
            yield Sighting(path=path, refusal=refusal)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, no link to one; of what cannot be looked at the file's own look tells why."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _unreadable(path: str, error: OSError) -> Sighting:
    return Sighting(path=path, fault=f"It cannot be read: {error.strerror}.")
