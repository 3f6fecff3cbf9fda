"""DICOMDIR: which files its records name (PS3.10 8, PS3.3 F.3.2.2)."""

from __future__ import annotations

import io
from collections.abc import Iterator

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from cxr_pacs.errors import UnreadableMedium

__all__ = ["is_dicomdir_name", "referenced_files"]

_INACTIVE = 0x0000


def is_dicomdir_name(name: str) -> bool:
    """Whether a file of this name is a DICOMDIR; some systems write the names of a CD small."""
    return name.casefold() in {"dicomdir", "dicomdir.", "dicomdir;1"}


def referenced_files(part10: bytes) -> tuple[tuple[str, ...], ...]:
    """Name the files of a file-set, each once, in the order of its records.

    Parameters
    ----------
    part10 : bytes
        A DICOMDIR.

    Returns
    -------
    tuple of tuple of str
        The components of each Referenced File ID, relative to the folder of the DICOMDIR. What could lead
        out of that folder is among them: the caller finds no such file in it.

    Raises
    ------
    UnreadableMedium
        It is no DICOMDIR.
    """
    try:
        directory = dcmread(io.BytesIO(part10))
        return tuple(dict.fromkeys(_files(directory)))
    except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
        raise UnreadableMedium(f"The DICOMDIR cannot be read ({type(error).__name__}).") from None


def _files(directory: Dataset) -> Iterator[tuple[str, ...]]:
    for record in directory.DirectoryRecordSequence:
        named = record.get("ReferencedFileID")
        if named and record.get("RecordInUseFlag") != _INACTIVE:
            yield tuple(map(str, named)) if isinstance(named, MultiValue) else (str(named),)
