"""One file in, its objects on the disk and a record out; then one study in, its report on the disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from cxr_pacs.errors import EvidenceError, UnreadableMedium, kind_and_place
from cxr_pacs.evidence import ReadInstance, ReportedStudy
from cxr_pacs.gateway.bulk.objects import keep, stage
from cxr_pacs.gateway.bulk.outcome import FileOutcome, StudyOutcome
from cxr_pacs.gateway.bulk.pictures import PictureReader
from cxr_pacs.gateway.media import MediaFile, why_unreadable
from cxr_pacs.gateway.preamble import dataset_bytes
from cxr_pacs.gateway.reading import Beside, Reader, Reading
from cxr_pacs.inference import Engine
from cxr_pacs.radiograph import is_picture
from cxr_pacs.settings import Settings

__all__ = ["BulkReader"]

logger = logging.getLogger(__name__)


class BulkReader:
    """Reads files into a folder; several threads may use one.

    Parameters
    ----------
    settings : Settings
    engine : Engine
        Loaded and warm.
    out : Path
        Where the objects go.
    now : float
        Seconds since the epoch; the time that the objects have.
    pictures : PictureReader or None
        Who reads PNG and JPEG files; without one they are no DICOM files.
    """

    def __init__(
        self, settings: Settings, engine: Engine, out: Path, now: float, pictures: PictureReader | None = None
    ) -> None:
        self._reader = Reader(settings, engine)
        self._model = engine.identity
        self._out = out
        self._now = now
        self._pictures = pictures

    def read(self, file: MediaFile) -> FileOutcome:
        """Read one file; whatever is wrong with it stands in the record."""
        try:
            content = file.part10()
        except Exception as error:  # noqa: BLE001  whatever it was, the other files are read
            return FileOutcome.failed("file", why_unreadable(error))
        try:
            if self._pictures is not None and is_picture(content):
                return self._pictures.read(content)
            reading = self._reader.analyse(self._reader.open_part10(content), self._now)
            return self._staged(file, content, reading)
        except OSError as error:
            return FileOutcome.failed("results", f"The results cannot be written: {error.strerror}.")
        except Exception as error:  # noqa: BLE001  whatever it was, the other files are read
            return FileOutcome.failed("failure", f"Failed: {kind_and_place(error)}.")

    def _staged(self, file: MediaFile, part10: bytes, reading: Reading) -> FileOutcome:
        _tell_left_out(file.name, reading.beside)
        made = reading.pictures
        header, findings = reading.header, reading.findings
        content = hashlib.sha256(dataset_bytes(part10)).hexdigest() if findings else ""
        return FileOutcome(
            decision=reading.decision,
            sop_instance_uid=_uid(header, "SOPInstanceUID"),
            study_instance_uid=_uid(header, "StudyInstanceUID"),
            content=content or None,
            scores=findings.scores if findings else (),
            withheld=findings.withheld if findings else (),
            quality=reading.quality,
            objects=tuple(stage(one, self._out, content) for one in made),
            heatmaps=sum(one.SOPClassUID == SecondaryCaptureImageStorage for one in made),
        )

    def report(self, images: Sequence[tuple[MediaFile, FileOutcome]]) -> StudyOutcome:
        """Report the accepted images of one study; of two copies of one image it speaks once."""
        try:
            return StudyOutcome(objects=self._reported(images))
        except (EvidenceError, UnreadableMedium) as error:
            return StudyOutcome(error=str(error))
        except OSError as error:
            return StudyOutcome(error=f"The report cannot be made, or not be written: {error.strerror}.")
        except Exception as error:  # noqa: BLE001  whatever it was, the other studies are reported
            return StudyOutcome(error=f"Failed: {kind_and_place(error)}.")

    def _reported(self, images: Sequence[tuple[MediaFile, FileOutcome]]) -> tuple[str, ...]:
        instances: dict[str, ReadInstance] = {}
        pictures: dict[str, None] = {}
        for file, outcome in images:
            header = file.header()
            if _uid(header, "SOPInstanceUID") != outcome.sop_instance_uid:
                raise UnreadableMedium("An image has changed since it was read: start again.")
            instances[str(header.SOPInstanceUID)] = ReadInstance(
                header=header, findings=outcome.findings(self._model), quality=outcome.quality
            )
            pictures |= dict.fromkeys(outcome.objects[: outcome.heatmaps])
        heatmaps = tuple(dcmread(self._out / name, stop_before_pixels=True) for name in pictures)
        report = self._reader.report(list(instances.values()), heatmaps, (), self._now)
        study = ReportedStudy(instances=tuple(instances.values()), heatmaps=heatmaps, document=report)
        beside = self._reader.beside_report(study, {}, self._now)
        _tell_left_out(images[0][0].name, beside)
        return tuple(keep(made, self._out) for made in (report, *beside.objects))


def _uid(header: Dataset | None, keyword: str) -> str | None:
    return None if header is None else str(header.get(keyword, ""))


def _tell_left_out(name: str, beside: Beside) -> None:
    for reason in beside.left_out:
        logger.warning("%s: left out: %s", name, reason)
