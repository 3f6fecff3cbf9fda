"""A folder for each study, as a folder that is a destination of the gateway has it.

::

    FOLDER/STUDY INSTANCE UID/SOP INSTANCE UID.dcm
    FOLDER/STUDY INSTANCE UID/SOP INSTANCE UID.png    of each heatmap
    FOLDER/STUDY INSTANCE UID/study.json              the last: with it the folder is whole
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom import dcmread

from cxr_pacs.gateway.bulk.journal import Journal, Row
from cxr_pacs.gateway.documents import KINDS
from cxr_pacs.gateway.folder import Folder, write_whole
from cxr_pacs.gateway.folder_tables import NOTICE
from cxr_pacs.gateway.routing import OBJECT_NAMES
from cxr_pacs.sending import FolderDestination

__all__ = ["write_studies"]


def write_studies(journal: Journal, out: Path) -> None:
    """Write the folder of each study that has an accepted image, where it is not there as it should be.

    Raises
    ------
    OSError, DestinationUnavailable
        The folder did not take it.
    DeliveryRefused
        It holds something else under one of the names.
    """
    folder = Folder(FolderDestination(name="studies", folder=out, pictures=True))
    for study in journal.studies():
        rows = list(journal.of_study(study))
        names = dict.fromkeys(
            name for row in rows if row.outcome for name in (*row.outcome.objects, *row.report)
        )
        content = _document(study, rows, [out / name for name in names])
        target = out / study / "study.json"
        if not (target.is_file() and target.read_bytes() == content):
            for name in names:
                folder.send(out / name)
            write_whole(target, content)


def _document(study: str, rows: Iterable[Row], objects: Iterable[Path]) -> bytes:
    instances: dict[str | int, dict[str, Any]] = {}
    for row in rows:
        if row.outcome is not None:
            # Of copies of one accepted image it tells once.
            instances.setdefault(
                row.outcome.content or len(instances),
                {**row.outcome.told(), "source": row.file.name, "reported": bool(row.report)},
            )
    headers = [dcmread(path, stop_before_pixels=True) for path in objects]
    document = {
        "notice": NOTICE,
        "study_instance_uid": study,
        "problem": next((row.report_error for row in rows if row.report_error), None),
        "instances": list(instances.values()),
        "objects": [
            {"object": OBJECT_NAMES[KINDS[one.SOPClassUID]], "file": f"{one.SOPInstanceUID}.dcm"}
            for one in headers
        ],
    }
    return f"{json.dumps(document, indent=1)}\n".encode()
