"""Sample files, where there are any."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_folder import DATA

SAMPLES = DATA / "dicom"

collect_ignore = [] if SAMPLES.is_dir() else ["test_samples.py"]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with `real` and `derived` DICOM files."""
    return SAMPLES
