"""The folder of sample data: the variable CXR_DATA, or ``shared/data`` beside the repository.

The repository does not need it. Tests over its files are parametrised over what is found, so that there are
none where there is no folder.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DATA", "dicom_files"]

_REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CXR_DATA") or _REPOSITORY.parent / "shared" / "data")


def dicom_files() -> tuple[Path, ...]:
    """Every DICOM sample, in the order of its name; empty where there is no folder."""
    return tuple(sorted((DATA / "dicom").glob("*/*.dcm")))
