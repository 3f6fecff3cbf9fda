"""Radiographs for the acceptance tests: small, and each in a study of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest

if TYPE_CHECKING:
    from pydicom import FileDataset

__all__ = ["ONE_OF_EACH", "demo_radiographs", "new_radiograph"]

ONE_OF_EACH = Counter({"SR": 1, "OT": 1})
"""What one study of one radiograph brings into an archive: a report and a heatmap."""

_PICTURE = synthetic_chest(256, 224, 7)
_serial = itertools.count(1)


def new_radiograph(**tags: Any) -> FileDataset:
    """A radiograph of an invented patient that no test has sent yet."""
    return make_radiograph(picture=_PICTURE, **({"PatientID": f"NEW-{next(_serial):04d}"} | tags))


def demo_radiographs() -> dict[Path, FileDataset]:
    """The three real radiographs that come with the repository, by their paths."""
    folder = Path(__file__).parents[2] / "demo" / "radiographs"
    return {path: dcmread(path) for path in sorted(folder.glob("*.dcm"))}
