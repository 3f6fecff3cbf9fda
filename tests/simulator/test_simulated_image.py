"""The image of an examination: the picture of one patient, the identity of another, and conformant."""

from __future__ import annotations

from datetime import datetime

import pytest
from peers import dciodvfy
from pydicom import Dataset, dcmread
from radiographs import make_radiograph
from worklist_items import worklist_dataset

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.evidence import is_own_output
from cxr_pacs.radiograph import SelectionPolicy, decide, read_header
from cxr_pacs.simulator import (
    MANUFACTURER,
    default_films,
    films_in,
    image_of,
    new_performance,
    synthetic_film,
)
from cxr_pacs.simulator.performed import begun, completed, discontinued
from cxr_pacs.worklist import WorklistItem

_NOON = datetime(2026, 11, 24, 12, 0, 5)  # noqa: DTZ001  local time, as a modality has it


def _item(**root):
    dataset = worklist_dataset("A7", modality=root.pop("modality", "DX"))
    dataset.PatientBirthDate, dataset.PatientSex = "19701125", "F"
    dataset.RequestedProcedureDescription = "Chest PA"
    dataset.ReferringPhysicianName = "Ordering^Doctor"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399208008", "SCT", "Plain chest X-ray"
    dataset.RequestedProcedureCodeSequence = [code]
    for keyword, value in root.items():
        setattr(dataset, keyword, value)
    return WorklistItem.of(dataset)


def _performance(**root):
    return new_performance(_item(**root), "ROOM1", _NOON)


def test_it_has_the_identity_and_the_order_of_the_item():
    performance = _performance()
    image = image_of(performance, synthetic_film())
    ordered = performance.item.dataset
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        assert image[keyword].value == ordered[keyword].value, keyword
    request = image.RequestAttributesSequence[0]
    assert request.ScheduledProcedureStepID == "SA7"
    assert request.RequestedProcedureID == image.StudyID == "RA7"
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "399208008"
    assert (image.StudyDate, image.AcquisitionTime) == ("20261124", "120005")
    assert image.PatientAge == "055Y"  # the birthday is tomorrow
    assert image.Manufacturer == MANUFACTURER
    step = image.ReferencedPerformedProcedureStepSequence[0]
    assert step.ReferencedSOPInstanceUID == performance.step_uid
    assert image.PerformedProcedureStepID == begun(performance).PerformedProcedureStepID


@pytest.mark.parametrize("birth_date", ["", "20270101"])
def test_an_age_that_cannot_be_told_is_left_out(birth_date):
    assert "PatientAge" not in image_of(_performance(PatientBirthDate=birth_date), synthetic_film())


def test_nothing_of_the_picture_s_patient_is_in_it(tmp_path):
    given = make_radiograph(PatientName="Secret^Name", PatientID="SECRET", AccessionNumber="SECRET")
    given.InstitutionName = given.PatientComments = "SECRET"
    given.save_as(tmp_path / "given.dcm")
    (film,) = films_in(tmp_path)
    image = image_of(_performance(), film)
    assert image.PixelData == given.PixelData
    uids = {given.StudyInstanceUID, given.SeriesInstanceUID, given.SOPInstanceUID}
    assert not uids & {str(element.value) for element in image.iterall()}
    assert "secret" not in str(image).lower()


@pytest.mark.parametrize("modality", ["DX", "CR"])
@pytest.mark.parametrize("number", range(4))
def test_a_validator_finds_no_error_and_the_gateway_reads_it(tmp_path, modality, number):
    film = (*default_films(), synthetic_film())[number]
    image = image_of(_performance(modality=modality), film)
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    assert [line for line in dciodvfy(tmp_path / "image.dcm") if line.startswith("Error")] == []
    read = dcmread(tmp_path / "image.dcm")
    assert read.Modality == modality
    assert decide(read_header(read), SelectionPolicy()).outcome == "accept"
    assert not is_own_output(read)


def test_the_demo_s_radiographs_are_the_default():
    assert len(default_films()) == 3


def test_a_folder_without_images_is_an_error_that_names_it(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    make_radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.2").save_as(tmp_path / "ct.dcm")
    with pytest.raises(ConfigurationError, match="no CR or DX image"):
        films_in(tmp_path)


def test_a_step_ends_with_what_it_made():
    performance = _performance()
    first = begun(performance)
    assert first.PerformedProcedureStepStatus == "IN PROGRESS"
    assert first.ScheduledStepAttributesSequence[0].AccessionNumber == "A7"
    assert first.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID == "SA7"
    last = completed(performance, _NOON)
    assert {element.tag for element in last} <= {element.tag for element in first}  # F.7.2.2.2
    (series,) = last.PerformedSeriesSequence
    image = image_of(performance, synthetic_film())
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPClassUID == image.SOPClassUID


def test_a_discontinued_step_has_a_reason_and_no_image():
    last = discontinued(_performance(), _NOON)
    assert last.PerformedProcedureStepStatus == "DISCONTINUED"
    assert last.PerformedProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    assert not last.PerformedSeriesSequence[0].ReferencedImageSequence
