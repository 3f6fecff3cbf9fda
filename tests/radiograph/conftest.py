"""Where the sample files are: the variable CXR_DATA, or `shared/data` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLES = Path(os.environ.get("CXR_DATA", _BESIDE)) / "dicom"

collect_ignore = [] if SAMPLES.is_dir() else ["test_samples.py"]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with `real` and `derived` DICOM files."""
    return SAMPLES
