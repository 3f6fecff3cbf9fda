"""Sample files, where there are any; property tests without a time limit, which a busy machine would miss."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_folder import DATA
from hypothesis import settings

SAMPLES = DATA / "dicom"

settings.register_profile("radiograph", deadline=None)
settings.load_profile("radiograph")

collect_ignore = [] if SAMPLES.is_dir() else ["test_samples.py"]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with `real` and `derived` DICOM files."""
    return SAMPLES
