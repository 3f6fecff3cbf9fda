"""Orders for the radiographs of the tests: worklist items that an image agrees with, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom import Dataset

if TYPE_CHECKING:
    from pydicom import FileDataset

__all__ = ["PROCEDURE", "order_of"]

PROCEDURE = ("C1", "99LOCAL", "Chest X-ray")
_SAME = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyInstanceUID",
)


def order_of(image: FileDataset, step: str = "S1", **tags: Any) -> Dataset:
    """A worklist item for `image`, with `tags` in place of what the image says."""
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _SAME:
        setattr(item, keyword, image.get(keyword))
    item.RequestedProcedureID = "R1"
    item.RequestedProcedureDescription = "Thorax p.a."
    item.PlacerOrderNumberImagingServiceRequest = "PL-1"
    item.FillerOrderNumberImagingServiceRequest = "FI-1"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = PROCEDURE
    item.RequestedProcedureCodeSequence = [code]
    scheduled = Dataset()
    scheduled.ScheduledStationAETitle = "DX1"
    scheduled.ScheduledProcedureStepStartDate = "20260102"
    scheduled.ScheduledProcedureStepStartTime = "101500"
    scheduled.Modality = "DX"
    scheduled.ScheduledProcedureStepID = step
    item.ScheduledProcedureStepSequence = [scheduled]
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item
