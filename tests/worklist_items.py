"""Worklist items for tests."""

from __future__ import annotations

import io

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

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


def part_10(dataset):
    """A data set as a DICOM file with header, as dump2dcm writes one."""
    buffer = io.BytesIO()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.276.0.7230010.3.1.0.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = "1.2.3"
    file = FileDataset(buffer, dataset, file_meta=meta, preamble=b"\0" * 128)
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
