"""The folder of results: whole files on the disk, or none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import FileDataset

from cxr_pacs.gateway.spool import sync

__all__ = ["discard", "keep", "remove_leftovers", "replacing", "settle", "stage"]

_PARTIAL = ".part"


def keep(made: FileDataset, folder: Path) -> str:
    """Write an object under its UID; what is there stays, since the same UID means the same findings.

    Returns
    -------
    str
        Its file name, without identity.
    """
    name = _name(made)
    if not (folder / name).exists():
        with replacing(folder / name) as partial:
            made.save_as(partial, enforce_file_format=True)
    return name


def stage(made: FileDataset, folder: Path, content: str) -> str:
    """Write an object that is made of `content`, without its name: see `settle`.

    Returns
    -------
    str
        The name that it may get.
    """
    name = _name(made)
    with _written(_staged(folder, name, content)) as partial:
        made.save_as(partial, enforce_file_format=True)
    return name


def settle(names: Iterable[str], folder: Path, content: str) -> None:
    """Give what was staged its name; what is there stays, since it was made of the same content."""
    for name in names:
        staged = _staged(folder, name, content)
        if (folder / name).exists():
            staged.unlink(missing_ok=True)
        else:
            staged.replace(folder / name)
    sync(folder)


def discard(names: Iterable[str], folder: Path, content: str) -> None:
    """Remove what was staged."""
    for name in names:
        _staged(folder, name, content).unlink(missing_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to; what was written there is whole and on the disk once it has its name."""
    with _written(target) as partial:
        yield partial
    sync(target.parent)


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    # Two copies of one image may be written at once.
    partial = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _name(made: FileDataset) -> str:
    return f"{made.Modality}-{made.SOPInstanceUID}.dcm"


def _staged(folder: Path, name: str, content: str) -> Path:
    return folder / f".{name}.{content}{_PARTIAL}"


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had half written."""
    for leftover in folder.glob(f".*{_PARTIAL}"):
        leftover.unlink(missing_ok=True)
