"""A folder as destination: whole files under names that tell what they are.

::

    FOLDER/STUDY INSTANCE UID/SOP INSTANCE UID.dcm
"""

from __future__ import annotations

import os
from pathlib import Path

from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable
from cxr_pacs.gateway.spool import sync

__all__ = ["put_into_folder", "writable_folder"]


def writable_folder(folder: Path) -> None:
    """Raise DestinationUnavailable where `folder` is absent, as an unmounted share is, or not writable."""
    if not folder.is_dir():
        raise DestinationUnavailable(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DestinationUnavailable(f"the folder {folder} is not writable")


def put_into_folder(folder: Path, study_instance_uid: str, sop_instance_uid: str, content: bytes) -> None:
    """Write a file that is whole and on the disk once it has its name.

    While it is being written its name begins with a dot. The same content again changes nothing.

    Raises
    ------
    DestinationUnavailable
        The folder is not there, or did not take the bytes.
    DeliveryRefused
        Another content has that name: two instances of one SOP Instance UID.
    """
    writable_folder(folder)
    target = folder / study_instance_uid / f"{sop_instance_uid}.dcm"
    partial = target.with_name(f".{sop_instance_uid}.part")
    try:
        if target.exists():
            if target.read_bytes() != content:
                raise DeliveryRefused(f"{folder} holds another content of this SOP Instance UID")
            return
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            sync(folder)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        sync(target.parent)
    except OSError as error:
        raise DestinationUnavailable(f"the folder {folder} did not take a file: {error.strerror}") from error
