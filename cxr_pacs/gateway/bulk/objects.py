"""The folder of results: whole files on the disk, or none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import FileDataset

from cxr_pacs.gateway.spool import sync

__all__ = ["keep", "remove_leftovers", "replacing"]

_PARTIAL = ".part"


def keep(made: FileDataset, folder: Path) -> str:
    """Write an object under its UID; what is there stays, since the same UID means the same findings.

    Returns
    -------
    str
        Its file name, without identity.
    """
    target = folder / f"{made.Modality}-{made.SOPInstanceUID}.dcm"
    if not target.exists():
        with replacing(target) as partial:
            made.save_as(partial, enforce_file_format=True)
    return target.name


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to; what was written there is whole and on the disk once it has its name."""
    # Two copies of one image may be written at once.
    partial = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}{_PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had half written."""
    for leftover in folder.glob(f".*{_PARTIAL}"):
        leftover.unlink(missing_ok=True)
