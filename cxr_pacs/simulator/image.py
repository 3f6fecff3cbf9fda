"""The image of an examination: a film with the identity of a worklist item (IHE RAD TF-2 appendix A)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    generate_uid,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    ModalityPerformedProcedureStep,
)

from cxr_pacs import __version__
from cxr_pacs.simulator.film import Film
from cxr_pacs.worklist import WorklistItem

__all__ = ["MANUFACTURER", "MODEL", "Performance", "copy_elements", "image_of", "new_performance"]

# Apart from what marks the gateway's own objects, which it would not read.
MANUFACTURER: Final = "cxr-pacs simulator"
MODEL: Final = "Simulated modality"

_SPACING: Final = [0.2, 0.2]  # mm; a film that tells none has some size
_OF_PATIENT_AND_STUDY: Final = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# Of Request Attributes Sequence (0040,0275), PS3.3 Table 10-9.
_OF_REQUEST: Final = (
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureID",
)
_OF_STEP: Final = (
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
    "ScheduledProcedureStepID",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """One performed procedure step: who performs what, under which new UIDs.

    Attributes
    ----------
    item : WorklistItem
        What was scheduled.
    station_ae_title : str
        Performed Station AE Title (0040,0241).
    began : datetime
        Local time.
    step_uid, series_uid, image_uid : UID
        SOP Instance UIDs of the step and the image, and the image's series.
    """

    item: WorklistItem
    station_ae_title: str
    began: datetime
    step_uid: UID
    series_uid: UID
    image_uid: UID

    @property
    def step_id(self) -> str:
        """Performed Procedure Step ID (0040,0253)."""
        return f"P{self.step_uid[-12:]}"

    @property
    def image_class_uid(self) -> UID:
        """SOP class of the image: Digital X-Ray where that is scheduled, else Computed Radiography."""
        is_digital = self.modality == "DX"
        return DigitalXRayImageStorageForPresentation if is_digital else ComputedRadiographyImageStorage

    @property
    def modality(self) -> str:
        """Modality (0008,0060) of what is made."""
        return "DX" if self.item.modality == "DX" else "CR"

    @property
    def description(self) -> str:
        """What was scheduled, in words; of the step, else of the procedure."""
        of_step = str(self.item.step.get("ScheduledProcedureStepDescription") or "").strip()
        return of_step or self.item.text("RequestedProcedureDescription") or "Chest radiograph"

    def request(self, keywords: Sequence[str]) -> Dataset:
        """Gather `keywords` of the order, and what names the scheduled step."""
        request = Dataset()
        copy_elements(self.item.dataset, request, keywords)
        copy_elements(self.item.step, request, _OF_STEP)
        return request


def new_performance(item: WorklistItem, station_ae_title: str, began: datetime) -> Performance:
    """Draw new UIDs for a performance of `item`."""
    step, series, image = (generate_uid(prefix=None) for _ in range(3))
    return Performance(
        item=item,
        station_ae_title=station_ae_title,
        began=began,
        step_uid=step,
        series_uid=series,
        image_uid=image,
    )


def image_of(performance: Performance, film: Film) -> FileDataset:
    """Make the image of a performance: `film` with its identity, order, times and equipment."""
    scheduled = performance.item.dataset
    image = FileDataset(
        "",
        {},
        preamble=bytes(128),
        file_meta=_file_meta(performance, film),
        is_implicit_VR=film.transfer_syntax_uid.is_implicit_VR,
        is_little_endian=film.transfer_syntax_uid.is_little_endian,
    )
    image.update(film.pixels)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = performance.image_class_uid
    image.SOPInstanceUID = performance.image_uid
    image.SeriesInstanceUID = performance.series_uid
    image.Modality = performance.modality
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex"):
        setattr(image, keyword, "")
    copy_elements(scheduled, image, _OF_PATIENT_AND_STUDY)
    if age := _age(str(image.PatientBirthDate), performance.began.date()):
        image.PatientAge = age
    image.StudyID = scheduled.RequestedProcedureID
    image.StudyDescription = performance.description
    image.SeriesDescription = (
        f"{film.pixels.get('BodyPartExamined', '')} {film.pixels.get('ViewPosition', '')}"
    )
    image.SeriesNumber = image.InstanceNumber = 1
    for what in ("Study", "Series", "Acquisition", "Content", "PerformedProcedureStepStart"):
        setattr(image, f"{what}Date", f"{performance.began:%Y%m%d}")
        setattr(image, f"{what}Time", f"{performance.began:%H%M%S}")
    image.Manufacturer = MANUFACTURER
    image.ManufacturerModelName = MODEL
    image.SoftwareVersions = __version__
    image.StationName = performance.station_ae_title
    image.PerformedProcedureStepID = performance.step_id
    image.RequestAttributesSequence = [performance.request(_OF_REQUEST)]
    image.ReferencedPerformedProcedureStepSequence = [_reference(performance.step_uid)]
    if performance.modality == "DX":
        _add_digital_x_ray(image)
    return image


def copy_elements(source: Dataset, target: Dataset, keywords: Sequence[str]) -> None:
    """Give `target` what `source` has of `keywords`."""
    for keyword in keywords:
        if keyword in source:
            target[keyword] = copy.deepcopy(source[keyword])


def _file_meta(performance: Performance, film: Film) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = performance.image_class_uid
    meta.MediaStorageSOPInstanceUID = performance.image_uid
    meta.TransferSyntaxUID = film.transfer_syntax_uid
    return meta


def _reference(step_uid: UID) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = ModalityPerformedProcedureStep
    reference.ReferencedSOPInstanceUID = step_uid
    return reference


def _age(birth_date: str, day: date) -> str:
    """Patient's Age (0010,1010) in years; empty where the birth date is not one of the past."""
    try:
        born = datetime.strptime(birth_date, "%Y%m%d").date()  # noqa: DTZ007  a day has no time zone
    except ValueError:
        return ""
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    return f"{years:03d}Y" if 0 <= years < 1000 else ""


def _chest() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "816094009", "SCT", "Chest"
    return code


def _add_digital_x_ray(image: Dataset) -> None:
    """Add what the DX IOD requires beyond CR (PS3.3 A.26)."""
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = [_chest()] if image.get("BodyPartExamined") == "CHEST" else []
    image.AcquisitionContextSequence = []
    image.DetectorType = image.PositionerType = ""
    if "ImagerPixelSpacing" not in image:
        image.ImagerPixelSpacing = image.get("PixelSpacing") or _SPACING
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LOG", -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.PresentationLUTShape = "INVERSE" if image.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    if "LossyImageCompression" not in image:
        image.LossyImageCompression = "00"
    if "BurnedInAnnotation" not in image:
        image.BurnedInAnnotation = "NO"
