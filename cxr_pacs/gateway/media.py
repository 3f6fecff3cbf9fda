"""Media: what below a path may be a DICOM data set, be it a file, a folder, a ZIP archive or a DICOMDIR.

Nothing is read before it is asked for, and one file at a time is in memory. Nothing is ever written.
"""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from cxr_pacs.errors import UnreadableMedium, kind_and_place
from cxr_pacs.gateway.file_set import is_dicomdir_name, referenced_files
from cxr_pacs.gateway.preamble import with_preamble
from cxr_pacs.gateway.zip_members import ZipMember, list_members
from cxr_pacs.radiograph import MAXIMUM_INFLATED

__all__ = [
    "AGAIN",
    "HIDDEN",
    "RESULTS",
    "UNNAMED",
    "Media",
    "MediaFile",
    "is_hidden",
    "printable",
    "why_unreadable",
]

HIDDEN = "hidden or temporary name"
UNNAMED = "not named by the DICOMDIR above it"
AGAIN = "a folder that links lead to again"
RESULTS = "the folder of results"

_Identity = tuple[int, int]  # device and inode
_UNREADABLE = (OSError, UnreadableMedium)
_ZIP = b"PK\x03\x04"
_TEMPORARY = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".temp", ".swp", "~")
_SYSTEM = frozenset(
    {
        *("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("lost+found", "#recycle", "@eadir"),
    }
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not meant for readers: hidden, half written, the system's."""
    small = name.casefold()
    return small.startswith((".", "~$")) or small.endswith(_TEMPORARY) or small in _SYSTEM


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A file that may be a DICOM data set; nothing of it was read yet.

    Attributes
    ----------
    name : str
        Its path for people, printable whatever its bytes; in an archive ``ARCHIVE:MEMBER``.
    path : Path
        The file, or the archive that holds it.
    size : int
        Bytes, unpacked.
    stamp : int
        Another with changed content: modification time in ns; of a member its CRC-32.
    member : ZipMember or None
        Where in an archive it lies.
    fault : str or None
        One sentence on why it cannot be read, where that is known already.
    """

    name: str
    path: Path
    size: int = 0
    stamp: int = 0
    member: ZipMember | None = None
    fault: str | None = None

    def content(self) -> bytes:
        """Return the bytes as they lie there.

        Raises
        ------
        UnreadableMedium
            As the message says: `fault`, a member that is damaged, more bytes than are read.
        OSError
            The file cannot be read.
        """
        if self.fault is not None:
            raise UnreadableMedium(self.fault)
        if self.member is not None:
            return self.member.read(self.path)
        with self.path.open("rb") as file:
            content = file.read(MAXIMUM_INFLATED + 1)
        if len(content) > MAXIMUM_INFLATED:  # it grew
            raise UnreadableMedium(_too_large(len(content)))
        return content

    def part10(self) -> bytes:
        """Return the content, with preamble and file meta information where a data set lacks them.

        What is no data set comes as it is.

        Raises
        ------
        UnreadableMedium, OSError
            As `content`; also for a ZIP archive within an archive, or under a name that does not say so.
        """
        content = self.content()
        if content[128:132] == b"DICM":
            return content
        if content.startswith(_ZIP):
            where = "within an archive: unpack the outer one" if self.member else "without .zip in its name"
            raise UnreadableMedium(f"A ZIP archive {where}.")
        return with_preamble(content)

    def header(self) -> Dataset:
        """Return the data set without its pixels, read no further where the file is a whole Part 10 file.

        Raises
        ------
        UnreadableMedium, OSError
            As `part10`; and it is no data set.
        """
        try:
            if self.member is None and self.fault is None:
                with suppress(InvalidDicomError):
                    return dcmread(self.path, stop_before_pixels=True)
            return dcmread(io.BytesIO(self.part10()), stop_before_pixels=True)
        except _UNREADABLE:
            raise
        except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
            raise UnreadableMedium(f"It is no readable data set ({type(error).__name__}).") from None


class Media:
    """The files at and below some paths, each once looked for, when it is its turn.

    A folder that holds a DICOMDIR is read by its records: what it names and is not there has a fault. Links
    are followed, and no folder is read twice.

    Parameters
    ----------
    paths : iterable of Path
        Files, folders, ZIP archives, DICOMDIRs. Their own names may be hidden ones.
    results : Path or None
        A folder that is not read, since what is made of the files goes there.

    Attributes
    ----------
    left_out : Counter of str
        How many files and folders were passed over so far, by the reason: `HIDDEN`, `UNNAMED`, `AGAIN`,
        `RESULTS`.
    """

    def __init__(self, paths: Iterable[Path], results: Path | None = None) -> None:
        self._paths = tuple(paths)
        self._results = None if results is None else results.absolute()
        self._seen: set[_Identity] = set()
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[MediaFile]:
        for path in self._paths:
            self._seen.clear()
            pending: list[tuple[Path, tuple[_Identity, ...]]] = [(path, ())]
            while pending:
                at, above = pending.pop()
                try:
                    found = at.stat()
                    if not stat.S_ISDIR(found.st_mode):
                        yield from self._file(at, found)
                        continue
                    identity = (found.st_dev, found.st_ino)
                    names = self._names(at, identity, above)
                    directory = next((name for name in names if is_dicomdir_name(name)), None)
                    if directory is not None and (at / directory).is_file():
                        try:
                            yield from self._whole_file_set(at, at / directory)
                            continue
                        except _UNREADABLE as error:  # so the folder is read as any other
                            yield _faulty(at / directory, error)
                            names.remove(directory)
                except Exception as error:  # noqa: BLE001  whatever one medium is, the others are read
                    yield _faulty(at, error)
                    continue
                pending += [(at / name, (*above, identity)) for name in reversed(names)]

    def _names(self, path: Path, identity: _Identity, above: tuple[_Identity, ...]) -> list[str]:
        """List what is in a folder; nothing where it was read already."""
        if identity in above:
            raise UnreadableMedium("A loop: this link leads to a folder above it.")
        if identity in self._seen:
            self.left_out[AGAIN] += 1
            return []
        if self._results is not None and path.absolute() == self._results:
            self.left_out[RESULTS] += 1
            return []
        self._seen.add(identity)
        names = sorted(below.name for below in path.iterdir())
        shown = [name for name in names if not is_hidden(name)]
        self.left_out[HIDDEN] += len(names) - len(shown)
        return shown

    def _file(self, path: Path, found: os.stat_result) -> Iterator[MediaFile]:
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableMedium("It is no regular file.")
        if is_dicomdir_name(path.name):
            yield from _file_set(path)
        elif path.suffix.casefold() == ".zip":
            yield from self._archive(path)
        else:
            yield _file(path, found)

    def _whole_file_set(self, path: Path, directory: Path) -> Iterator[MediaFile]:
        held = 0
        for file in _file_set(directory):
            yield file
            held += file.stamp != 0
        self.left_out[UNNAMED] += _count_files(path) - 1 - held

    def _archive(self, path: Path) -> Iterator[MediaFile]:
        members = list_members(path)
        # Two may have one name, or names that are one on a CD.
        unnamed: dict[str, list[ZipMember]] = {}
        for member in members:
            unnamed.setdefault(member.name.casefold(), []).append(member)
        roots: list[str] = []
        for directory in members:
            name = directory.name.rpartition("/")[2]
            if is_dicomdir_name(name):
                try:
                    named = referenced_files(_member(path, directory).content())
                except UnreadableMedium as error:  # so its folder is read as any other
                    yield replace(_member(path, directory), fault=str(error))
                    continue
                roots.append(directory.name.removesuffix(name))
                for parts in named:
                    yield from _named_members(path, roots[-1] + "/".join(parts), unnamed)
        for member in members:
            *folders, name = member.name.split("/")
            if is_dicomdir_name(name) or member.name.casefold() not in unnamed:
                continue
            if member.name.startswith(tuple(roots)):
                self.left_out[UNNAMED] += 1
            elif any(map(is_hidden, (*folders, name))):
                self.left_out[HIDDEN] += 1
            else:
                yield _member(path, member)


def _file(path: Path, found: os.stat_result) -> MediaFile:
    fault = _too_large(found.st_size) if found.st_size > MAXIMUM_INFLATED else None
    return MediaFile(
        name=printable(path), path=path, size=found.st_size, stamp=found.st_mtime_ns, fault=fault
    )


def _member(archive: Path, member: ZipMember) -> MediaFile:
    too_large = _too_large(member.size) if member.size > MAXIMUM_INFLATED else None
    return MediaFile(
        name=_member_name(archive, member.name),
        path=archive,
        size=member.size,
        stamp=member.crc,
        member=member,
        fault=too_large or member.fault,
    )


def _named_members(archive: Path, name: str, unnamed: dict[str, list[ZipMember]]) -> Iterator[MediaFile]:
    """Take what a DICOMDIR names out of the members that none named yet."""
    named = unnamed.pop(name.casefold(), None)
    if named is not None:
        yield from (_member(archive, member) for member in named)
    else:
        reason = "The DICOMDIR names this file, and the archive does not hold it."
        yield MediaFile(name=_member_name(archive, name), path=archive, fault=reason)


def _member_name(archive: Path, name: str) -> str:
    return printable(f"{archive}:{name}")


def _faulty(path: Path, error: Exception) -> MediaFile:
    return MediaFile(name=printable(path), path=path, fault=why_unreadable(error))


def why_unreadable(error: Exception) -> str:
    """Say in one sentence why a file or a medium that raised `error` cannot be read."""
    if isinstance(error, UnreadableMedium):
        return str(error)
    why = error.strerror if isinstance(error, OSError) else kind_and_place(error)
    return f"Cannot be read: {why}."


def _file_set(directory: Path) -> Iterator[MediaFile]:
    """List the files that a DICOMDIR names."""
    content = _file(directory, directory.stat()).content()
    for parts in referenced_files(content):
        path = _beneath(directory.parent, parts)
        try:
            if path is None:
                raise UnreadableMedium("The DICOMDIR names this file, and the medium does not hold it.")
            yield _file(path, path.stat())
        except _UNREADABLE as error:
            yield _faulty(path or directory.parent.joinpath(*parts), error)


def _count_files(folder: Path) -> int:
    count, pending = 0, [folder]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry))
                else:
                    count += 1
    return count


def _too_large(size: int) -> str:
    return f"It has {size} bytes or more; files of up to {MAXIMUM_INFLATED} are read."


def printable(path: Path | str) -> str:
    r"""Write a path so that any terminal and any UTF-8 file takes it: other bytes as ``\xff``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _beneath(folder: Path, parts: Iterable[str]) -> Path | None:
    """Find a file of a file-set, whatever the case of its name became; None where there is none."""
    for part in parts:
        if part in {"", ".", ".."} or "/" in part:
            return None
        exact = folder / part
        if not exact.exists():
            wanted = {part.casefold(), f"{part};1".casefold()}
            try:
                exact = next((one for one in folder.iterdir() if one.name.casefold() in wanted), exact)
            except OSError:
                return None
        folder = exact
    return folder if folder.is_file() else None
