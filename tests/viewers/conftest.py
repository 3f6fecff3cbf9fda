"""Three real radiographs in an archive, with all that is made of them, each in settings of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway_objects import made_of
from pydicom import FileDataset, dcmread

if TYPE_CHECKING:
    from collections.abc import Sequence

_RADIOGRAPHS = Path(__file__).parents[2] / "demo" / "radiographs"
# In JPEG 2000; MONOCHROME1 in JPEG-LS; in RLE.
_SETTINGS = {
    "alpha": {},
    "bravo": {"heatmap": {"second_without_text": True, "encoding": "jpeg-ls"}},
    "charlie": {"heatmap": {"encoding": "rle"}, "evidence": {"language": "es"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A radiograph and the objects made of it, as files."""

    source: Path
    made: Sequence[Path]

    @property
    def uid(self) -> str:
        return str(dcmread(self.source, stop_before_pixels=True).StudyInstanceUID)

    def one(self, kind: str) -> FileDataset:
        """The first object of a SOP class, by the class's name."""
        return next(d for d in map(dcmread, self.made) if d.SOPClassUID.name == kind)


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    folder = tmp_path_factory.mktemp("studies")
    studies = {}
    for name, tables in _SETTINGS.items():
        radiograph = dcmread(_RADIOGRAPHS / f"{name}.dcm")
        radiograph.ImagerPixelSpacing = [0.2, 0.2]  # it tells none
        made = made_of([radiograph], folder / name, **tables)
        studies[name] = Study(source=folder / name / "source-0.dcm", made=made)
    return studies
