"""A folder as destination: whole files under names that tell what they are.

::

    FOLDER/STUDY INSTANCE UID/SOP INSTANCE UID.dcm
    FOLDER/STUDY INSTANCE UID/SOP INSTANCE UID.png    of each heatmap, where pictures are wanted
    FOLDER/STUDY INSTANCE UID/study.json              of each study, where tables are wanted (`folder_tables`)
    FOLDER/instances.csv

Where names may tell who it is, a study's folder is PATIENT ID_STUDY DATE_STUDY INSTANCE UID.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread

from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable, UnreadablePixels
from cxr_pacs.gateway.showing import is_picture, png
from cxr_pacs.gateway.spool import sync
from cxr_pacs.settings import FolderDestination

__all__ = ["Folder", "put_into_folder", "study_folder", "writable_folder", "write_whole"]

# A file's name has 255 bytes at most, and the UID 64 of them.
_LONGEST_PART: Final = 64
_NAMING_TAGS: Final = ("PatientID", "StudyDate", "StudyInstanceUID")


class Folder:
    """A folder that takes objects, see `destinations`.

    Parameters
    ----------
    settings : FolderDestination
    """

    def __init__(self, settings: FolderDestination) -> None:
        self._settings = settings

    def send(self, path: Path) -> None:
        """Put an object of ours there, and of a picture a PNG beside it."""
        self.forward(path)
        if self._settings.pictures and is_picture(dataset := dcmread(path)):
            folder = self._settings.folder / study_folder(dataset, self._settings)
            try:
                write_whole(folder / f"{dataset.SOPInstanceUID}.png", png(dataset))
            except OSError as error:
                raise _did_not_take(self._settings.folder, error) from error
            except UnreadablePixels as error:
                raise DeliveryRefused(f"there is no PNG of it: {error}") from error

    def forward(self, path: Path) -> None:
        """Put an original there."""
        header = dcmread(path, stop_before_pixels=True, specific_tags=[*_NAMING_TAGS, "SOPInstanceUID"])
        folder = study_folder(header, self._settings)
        put_into_folder(self._settings.folder, folder, str(header.SOPInstanceUID), path.read_bytes())

    def probe(self) -> None:
        """Raise where it could not take anything now."""
        writable_folder(self._settings.folder)


def study_folder(header: Dataset, settings: FolderDestination) -> str:
    """Name of the folder of a study, by the header of one of its objects."""
    uid = str(header.StudyInstanceUID)
    if not settings.identity_in_names:
        return uid
    told = (str(header.get(tag) or "unknown") for tag in _NAMING_TAGS[:2])
    return "_".join((*(re.sub(r"[^\w.-]+", "-", part)[:_LONGEST_PART] for part in told), uid))


def writable_folder(folder: Path) -> None:
    """Raise DestinationUnavailable where `folder` is absent, as an unmounted share is, or not writable."""
    if not folder.is_dir():
        raise DestinationUnavailable(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DestinationUnavailable(f"the folder {folder} is not writable")


def put_into_folder(folder: Path, study: str, sop_instance_uid: str, content: bytes) -> None:
    """Write an object into the folder `study` of `folder`; the same content again changes nothing.

    Raises
    ------
    DestinationUnavailable
        The folder is not there, or did not take the bytes.
    DeliveryRefused
        Another content has that name: two instances of one SOP Instance UID.
    """
    writable_folder(folder)
    target = folder / study / f"{sop_instance_uid}.dcm"
    try:
        if target.exists():
            if target.read_bytes() != content:
                raise DeliveryRefused(f"{folder} holds another content of this SOP Instance UID")
            return
        write_whole(target, content)
    except OSError as error:
        raise _did_not_take(folder, error) from error


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that is whole and on the disk once it has its name, in place of one that has it.

    While it is being written its name begins with a dot. Its folder is made, but not the one above.
    """
    if not target.parent.is_dir():
        target.parent.mkdir(exist_ok=True)
        sync(target.parent.parent)
    partial = target.with_name(f".{target.stem}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError:
        # On a full disk the half of a file would keep a smaller one out.
        partial.unlink(missing_ok=True)
        raise
    sync(target.parent)


def _did_not_take(folder: Path, error: OSError) -> DestinationUnavailable:
    return DestinationUnavailable(f"the folder {folder} did not take a file: {error.strerror}")
