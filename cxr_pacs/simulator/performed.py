"""What a modality says of a performed procedure step: as it begins, and as it ends (PS3.4 Table F.7.2-1)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydicom import Dataset

from cxr_pacs.simulator.image import Performance, copy_elements

__all__ = ["begun", "completed", "discontinued", "failed"]

_PROTOCOL: Final = "Chest"
# CID 9300, Procedure Discontinuation Reasons.
_UNSPECIFIED: Final = ("110513", "DCM", "Discontinued for unspecified reason")
_EQUIPMENT: Final = ("110501", "DCM", "Equipment failure")
_EMPTY: Final = (
    "ReferencedPatientSequence",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureTypeDescription",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "PerformedProcedureStepDiscontinuationReasonCodeSequence",
    "ProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
)
_EMPTY_OF_STEP: Final = (
    "ReferencedStudySequence",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
)
_OF_ORDER: Final = (
    "StudyInstanceUID",
    "ReferencedStudySequence",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)
_OF_PATIENT: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")


def begun(performance: Performance) -> Dataset:
    """Attribute list of the N-CREATE: in progress. What the N-SET will change is there, empty."""
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 192"
    _empty(step, _EMPTY)
    copy_elements(performance.item.dataset, step, _OF_PATIENT)
    scheduled = Dataset()
    _empty(scheduled, _EMPTY_OF_STEP)
    scheduled.update(performance.request(_OF_ORDER))
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PerformedProcedureStepID = performance.step_id
    step.PerformedStationAETitle = performance.station_ae_title
    step.PerformedProcedureStepStartDate = f"{performance.began:%Y%m%d}"
    step.PerformedProcedureStepStartTime = f"{performance.began:%H%M%S}"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = performance.description
    step.Modality = performance.modality
    step.StudyID = performance.item.text("RequestedProcedureID")
    return step


def completed(performance: Performance, ended: datetime) -> Dataset:
    """Modification list of the N-SET: completed, with the image that was made."""
    return _final(performance, "COMPLETED", ended, [_image(performance)])


def discontinued(performance: Performance, ended: datetime) -> Dataset:
    """Modification list of the N-SET: discontinued before an image was made, for no particular reason."""
    return _broken_off(_final(performance, "DISCONTINUED", ended, []), _UNSPECIFIED)


def failed(performance: Performance, ended: datetime, *, stored: bool) -> Dataset:
    """Modification list of the N-SET: discontinued as a server failed, with the image where it was stored."""
    images = [_image(performance)] if stored else []
    return _broken_off(_final(performance, "DISCONTINUED", ended, images), _EQUIPMENT)


def _image(performance: Performance) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = performance.image_class_uid
    image.ReferencedSOPInstanceUID = performance.image_uid
    return image


def _broken_off(step: Dataset, code: tuple[str, str, str]) -> Dataset:
    reason = Dataset()
    reason.CodeValue, reason.CodingSchemeDesignator, reason.CodeMeaning = code
    step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason]
    return step


def _final(performance: Performance, status: str, ended: datetime, images: list[Dataset]) -> Dataset:
    series = Dataset()
    _empty(series, ("PerformingPhysicianName", "OperatorsName", "RetrieveAETitle"))
    series.ProtocolName = _PROTOCOL
    series.SeriesInstanceUID = performance.series_uid
    series.SeriesDescription = performance.description
    series.ReferencedImageSequence = images
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 192"
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = f"{ended:%Y%m%d}"
    step.PerformedProcedureStepEndTime = f"{ended:%H%M%S}"
    step.PerformedSeriesSequence = [series]
    return step


def _empty(dataset: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        setattr(dataset, keyword, [] if keyword.endswith("Sequence") else "")
