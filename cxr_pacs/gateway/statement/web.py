"""What the statement says of what needs no association: DICOMweb servers and folders."""

from __future__ import annotations

from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import FolderDestination, Settings, WebDestination

__all__ = ["web_and_folders"]

_ANSWERS = (
    ("200 or 202, naming the instance as stored", "delivered; a warning reason goes into the log"),
    ("a failure reason A7xx", "tried again"),
    ("any other failure reason", "parked with the reason"),
    ("408, 425, 429, 5xx, a redirect, no answer", "tried again"),
    ("any other 4xx", "parked with the status"),
)


def web_and_folders(settings: Settings) -> tuple[str, ...]:
    """Describe the user agent of STOW-RS and the files, each where there is such a destination."""
    web = [(d.name, d.url) for d in settings.destination if isinstance(d, WebDestination)]
    folders = [(d.name, d.folder) for d in settings.destination if isinstance(d, FolderDestination)]
    by_web = (
        (
            "User agent of the Studies Service, Store transaction (STOW-RS, PS3.18 10.5): one Part 10 object "
            "in each request, as application/dicom; the answer is asked for as application/dicom+json. HTTPS "
            "verifies the server's certificate. A bearer token, or user and password, are sent where the "
            "settings name them."
        ),
        table(("Name", "Address"), web),
        table(("Answer", "The object is"), _ANSWERS),
    )
    by_folder = (
        "Part 10 files are put into folders, as STUDY/INSTANCE.dcm by their UIDs, without a DICOMDIR:",
        table(("Name", "Folder"), folders),
    )
    watched = [(watch.name, watch.folder) for watch in settings.watch]
    from_folder = (
        (
            "Files are read from folders: Part 10 files, data sets without preamble or file meta "
            "information, and ZIP archives of such. A DICOMDIR is not followed: the files that it names are "
            "read by themselves."
        ),
        table(("Name", "Watched folder"), watched),
    )
    return (
        *(by_web if web else ()),
        *(by_folder if folders else ()),
        *(from_folder if watched else ()),
    )
