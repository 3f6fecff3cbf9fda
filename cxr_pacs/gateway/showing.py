"""What a person asked to see: one file, or what the ledger knows of a study."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, Comprehensive3DSRStorage

from cxr_pacs import radiograph
from cxr_pacs.errors import NothingToShow, UnreadablePixels
from cxr_pacs.evidence.header_facts import Facts
from cxr_pacs.evidence.plain import items_of, plain
from cxr_pacs.gateway import tables
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.rerun import superseded_results
from cxr_pacs.settings import Settings

__all__ = ["StudyResults", "find_study", "is_document", "is_picture", "is_presentation", "png", "read_object"]

# Of a picture in colour; a radiograph has the limit of `radiograph.read_radiograph`.
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """What was made of a study.

    Attributes
    ----------
    reports : tuple of (Path, Dataset)
        Those that no later one replaces, oldest first.
    pictures : tuple of (Path, Dataset)
        Heatmaps, without those of a reading that a later one replaced.
    others : tuple of (Path, Dataset)
        Every other object, replaced reports and heatmaps among them.
    received : Facts
        What became of each instance that came, why the study has no report where it has none, and which
        objects cannot be read any more.
    """

    reports: tuple[tuple[Path, Dataset], ...]
    pictures: tuple[tuple[Path, Dataset], ...]
    others: tuple[tuple[Path, Dataset], ...]
    received: Facts


def read_object(path: Path) -> Dataset:
    """Read the DICOM file at `path`; NothingToShow when it cannot be read or is none."""
    try:
        dataset = dcmread(path)
    except OSError as error:
        raise NothingToShow(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
        raise NothingToShow(f"{path}: not a readable DICOM file ({type(error).__name__})") from None
    return dataset


def is_document(dataset: Dataset) -> bool:
    """Whether `dataset` has a content tree, as a Structured Report or a Key Object Selection."""
    return "ContentSequence" in dataset


def is_picture(dataset: Dataset) -> bool:
    """Whether `dataset` has pixels."""
    return "PixelData" in dataset


def is_presentation(dataset: Dataset) -> bool:
    """Whether `dataset` says how to show other pictures, as a presentation state, with annotations."""
    return "GraphicAnnotationSequence" in dataset


def png(dataset: Dataset) -> bytes:
    """Encode the picture as PNG, as it is to be displayed, with square pixels.

    Raises
    ------
    UnreadablePixels
        Pixels that are absent, damaged, too many, of several frames, or neither gray nor in colour.
    """
    if plain(dataset, "PhotometricInterpretation").startswith("MONOCHROME"):
        shown = radiograph.read_radiograph(dataset)
        picture = Image.fromarray(np.rint(shown.pixels * 255).astype(np.uint8))
        rows, columns = shown.pixels.shape
        if shown.aspect > 1:
            picture = picture.resize((columns, round(rows * shown.aspect)), Image.Resampling.BILINEAR)
        elif shown.aspect < 1:
            picture = picture.resize((round(columns / shown.aspect), rows), Image.Resampling.BILINEAR)
    else:
        picture = Image.fromarray(_colours(dataset))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _colours(dataset: Dataset) -> np.ndarray:
    sides = [plain(dataset, keyword) for keyword in ("Rows", "Columns")]
    if not all(side.isdecimal() for side in sides) or int(sides[0]) * int(sides[1]) > _MOST_PIXELS:
        raise UnreadablePixels("Rows and Columns are missing or too many.")
    if plain(dataset, "NumberOfFrames") not in {"", "1"}:
        raise UnreadablePixels("A picture of several frames is not shown.")
    try:
        pixels = pixel_array(dataset)
    except Exception as error:  # noqa: BLE001  pydicom and its plug-ins raise anything for damaged pixels
        raise UnreadablePixels(f"The pixels cannot be decoded ({type(error).__name__}).") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadablePixels("The picture is neither gray nor in colours of 8 bits.")
    return pixels


def find_study(settings: Settings, study_uid: str) -> StudyResults:
    """Find what was made of the study.

    Raises
    ------
    NothingToShow
        The ledger does not know the study, or there is no ledger yet.
    ConfigurationError
        The ledger cannot be opened.
    """
    with looking(settings) as opened, opened.begin() as connection:
        study = connection.execute(
            sa.select(tables.study).where(tables.study.c.study_instance_uid == study_uid)
        ).first()
        if study is None:
            raise NothingToShow(
                f"no file and no study of this gateway is called {study_uid}: nothing of it was received"
            )
        received = connection.execute(
            sa.select(tables.instance)
            .where(tables.instance.c.study_id == study.id)
            .order_by(tables.instance.c.id)
        ).all()
        results = opened.study_results(connection, study.id)
        past = superseded_results(connection, study.id)
        of_results = tables.removed.c.file.in_([result.file for result in results])
        removed = set(connection.execute(sa.select(tables.removed.c.file).where(of_results)).scalars())
    objects, lines = [], list(_received(received, study.problem))
    earlier = {result.sop_instance_uid for result in results if result.id in past}
    lines += [("Removed", result.sop_instance_uid) for result in results if result.file in removed]
    for path in (settings.spool.path / result.file for result in results if result.file not in removed):
        try:
            objects.append((path, read_object(path)))
        except NothingToShow as error:
            lines.append(("Lost", str(error)))
    return _sorted(objects, earlier, Facts(heading="Received", lines=tuple(lines)))


def _received(rows: Sequence[sa.Row[tuple[object, ...]]], problem: str | None) -> Iterator[tuple[str, str]]:
    for row in rows:
        said = f"{row.decision}: {row.reason}" if row.decision else "waits for its analysis"
        yield str(row.sop_instance_uid), said
    if problem:
        yield "No report", problem


def _sorted(objects: Sequence[tuple[Path, Dataset]], earlier: set[str], received: Facts) -> StudyResults:
    replaced = earlier | {
        plain(instance, "ReferencedSOPInstanceUID")
        for _, dataset in objects
        for study in items_of(dataset, "PredecessorDocumentsSequence")
        for series in items_of(study, "ReferencedSeriesSequence")
        for instance in items_of(series, "ReferencedSOPSequence")
    }
    reports, pictures, others = [], [], []
    for path, dataset in objects:
        current = plain(dataset, "SOPInstanceUID") not in replaced
        if current and UID(plain(dataset, "SOPClassUID")) == Comprehensive3DSRStorage:
            reports.append((path, dataset))
        elif current and plain(dataset, "Modality") == "OT" and is_picture(dataset):
            pictures.append((path, dataset))
        else:
            others.append((path, dataset))
    return StudyResults(
        reports=tuple(reports), pictures=tuple(pictures), others=tuple(others), received=received
    )
