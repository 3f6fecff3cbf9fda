"""What the gateway makes of radiographs, every optional object with it, without its network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bright_engine import BrightEngine

from cxr_pacs.evidence import ReadInstance, ReportedStudy
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.radiograph import Outcome
from cxr_pacs.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset, FileDataset

__all__ = ["EVERYTHING", "made_of"]

_NOON = 1_767_355_200.0  # 2026-01-02 12:00 UTC
EVERYTHING: dict[str, dict[str, Any]] = {
    "heatmap": {"second_without_text": True},
    "objects": dict.fromkeys(("segmentation", "presentation_state", "key_objects", "plain_report"), True),
}


def made_of(
    radiographs: Sequence[FileDataset],
    folder: Path,
    *,
    engine: BrightEngine | None = None,
    predecessors: Sequence[Dataset] = (),
    **tables: dict[str, Any],
) -> list[Path]:
    """Read the images of one study as the gateway does, and write all that it makes of them into `folder`.

    Parameters
    ----------
    radiographs : sequence of FileDataset
        Written there as well, as ``source-0.dcm`` and so on.
    folder : Path
        New.
    engine : BrightEngine, optional
    predecessors : sequence of Dataset
        The reports that this one replaces.
    **tables
        Of the settings, over `EVERYTHING`.

    Returns
    -------
    list of Path
        The objects, the report first.
    """
    folder.mkdir()
    reader = Reader(Settings.model_validate({**EVERYTHING, **tables}), engine or BrightEngine())
    readings = []
    for number, radiograph in enumerate(radiographs):
        source = folder / f"source-{number}.dcm"
        radiograph.save_as(source)
        readings.append(reader.read(source, _NOON))
        assert readings[-1].decision.outcome is Outcome.ACCEPT, readings[-1].decision
    instances = tuple(
        ReadInstance(header=r.header, findings=r.findings, quality=r.quality)  # type: ignore[arg-type]
        for r in readings
    )
    heatmaps = tuple(r.heatmap for r in readings if r.heatmap is not None)
    document = reader.report(instances, heatmaps, predecessors, _NOON)
    study = ReportedStudy(instances=instances, heatmaps=heatmaps, document=document)
    beside = [one for reading in readings for one in reading.beside.objects]
    made = [document, *reader.beside_report(study, {}, _NOON).objects, *heatmaps, *beside]
    return [_written(one, folder / f"{number}-{one.Modality}.dcm") for number, one in enumerate(made)]


def _written(made: FileDataset, path: Path) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path
