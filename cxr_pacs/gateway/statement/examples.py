"""Every kind of object that the running settings make, made once from a synthetic film by the gateway's code.

What the statement says of objects is read from these, so that it cannot differ from them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import ReadInstance, ReportedStudy, codes
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.inference import Analysis, Bundle, Claim, ClassScore, Findings, ModelIdentity, Saliency
from cxr_pacs.settings import Settings

__all__ = ["example_objects"]

_SIDE = 256
_CELLS = 8


class _EveryClassFound:
    """An engine that finds every class of `bundle` in every film and claims it for everybody."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @property
    def identity(self) -> ModelIdentity:
        return self._bundle.identity

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(
            Claim(
                head=head.name,
                label=label.name,
                age_low=0,
                age_high=120,
                views=("PA", "AP"),
                films="none: an example",
                positives=30,
                others=30,
                figure="none",
                value=1.0,
                low=1.0,
                high=1.0,
                baseline="none",
                baseline_value=0.0,
                gain_low=1.0,
            )
            for head in self._bundle.manifest.heads
            for label in head.labels
        )

    def analyse(self, picture: NDArray[np.float32]) -> Analysis:
        """Find every class, at a place of its own."""
        scores = tuple(
            ClassScore(head=head.name, label=label.name, score=share, threshold=share)
            for head in self._bundle.manifest.heads
            for label in head.labels
            for share in (1 / len(head.labels),)
        )
        # a spot as large as an eighth of the film, in its middle third
        cells = np.zeros((_CELLS, _CELLS), np.float32)
        cells[_CELLS // 2, _CELLS // 3] = 1
        maps = (
            Saliency(head=s.head, label=s.label, cells=cells, first_centre=(0.5, 0.5), pitch=1 / _CELLS)
            for s in scores
        )
        return Analysis(
            findings=Findings(scores=scores, model=self.identity),
            saliency=tuple(maps),
            quality=("An example.",) if picture.size else (),
        )


def example_objects(settings: Settings, bundle: Bundle) -> tuple[FileDataset, ...]:
    """Make each kind of object that `settings` ask for.

    Raises
    ------
    EvidenceError
        They cannot be made, so that the gateway could not make them either.
    """
    reader = Reader(settings, _EveryClassFound(bundle))
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.dcm"
        _film().save_as(film, enforce_file_format=True)
        reading = reader.read(film, 0.0)
    if reading.header is None or reading.findings is None or reading.heatmap is None:
        raise EvidenceError(f"an example could not be read: {reading.decision.reason}")
    instance = ReadInstance(header=reading.header, findings=reading.findings, quality=reading.quality)
    report = reader.report([instance], [reading.heatmap], (), 0.0)
    study = ReportedStudy(instances=(instance,), heatmaps=(reading.heatmap,), document=report)
    return (report, reading.heatmap, *reading.beside.objects, *reader.beside_report(study, {}, 0.0).objects)


def _film() -> FileDataset:
    """Draw a radiograph of nobody, with every attribute that an object of ours may take over."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID = meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    film.StudyInstanceUID, film.SeriesInstanceUID = UID("2.25.2"), UID("2.25.3")
    film.PatientName, film.PatientID, film.PatientSex, film.PatientAge = "Example", "0", "O", "040Y"
    film.PatientBirthDate, film.IssuerOfPatientID = "20000101", "Example"
    film.StudyDate, film.StudyTime, film.StudyID = "20400101", "120000", "0"
    film.StudyDescription, film.AccessionNumber, film.ReferringPhysicianName = "Chest", "0", ""
    film.TimezoneOffsetFromUTC = "+0000"
    film.Modality, film.PresentationIntentType = "DX", "FOR PRESENTATION"
    film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CHEST", "PA", ["L", "F"]
    film.InstanceNumber, film.ImagerPixelSpacing = 1, [0.5, 0.5]
    film.ProcedureCodeSequence = [codes.item(codes.PLAIN_CHEST_XRAY)]
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "0", "Chest"
    film.RequestAttributesSequence = [request]
    film.PixelIntensityRelationship, film.PresentationLUTShape = "LOG", "IDENTITY"
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.Rows = film.Columns = _SIDE
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    ramp = np.linspace(0, 4095, _SIDE * _SIDE).astype("<u2")
    film.PixelData = ramp.tobytes()
    film["PixelData"].VR = "OW"
    film.RescaleIntercept, film.RescaleSlope, film.RescaleType = 0, 1, "US"
    film.WindowCenter, film.WindowWidth = 2048, 4096
    return film
