"""Worklist items for tests."""

from __future__ import annotations

from pydicom import Dataset

from cxr_pacs.worklist import WorklistItem


def worklist_dataset(accession_number, *, day="20261124", station="DX1", modality="DX"):
    """A data set that is a worklist item, of a patient that is nobody."""
    step = Dataset()
    step.ScheduledStationAETitle = station
    step.ScheduledProcedureStepStartDate = day
    step.ScheduledProcedureStepStartTime = "0930"
    step.Modality = modality
    step.ScheduledProcedureStepID = f"S{accession_number}"
    order = Dataset()
    order.SpecificCharacterSet = "ISO_IR 192"
    order.AccessionNumber = accession_number
    order.PatientName = "Doe^Jane"
    order.PatientID = "P1"
    order.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.7"
    order.RequestedProcedureID = f"R{accession_number}"
    order.ScheduledProcedureStepSequence = [step]
    return order


def worklist_item(accession_number, **options):
    return WorklistItem.of(worklist_dataset(accession_number, **options))
