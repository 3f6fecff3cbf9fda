"""A worklist item: text of every character set becomes Unicode, and stays it in the store."""

from __future__ import annotations

import io

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.tag import Tag
from worklist_items import part_10, worklist_dataset

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist import WorklistItem
from cxr_pacs.worklist.elements import read_elements


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东="),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东="),
        ("ISO_IR 144", "Люксембург^Роза"),
    ],
)
def test_a_name_is_unicode_from_a_file_and_from_memory(character_set, name):
    dataset = worklist_dataset("A1")
    dataset.SpecificCharacterSet = character_set
    dataset.PatientName = name
    dataset.ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName = name
    for one in (dataset, dcmread(io.BytesIO(part_10(dataset)))):
        item = WorklistItem.from_bytes(WorklistItem.of(one).to_bytes())
        assert str(item.dataset.PatientName).rstrip("=") == name.rstrip("=")
        assert str(item.step.ScheduledPerformingPhysicianName).rstrip("=") == name.rstrip("=")
        assert item.dataset.SpecificCharacterSet == "ISO_IR 192"


def test_text_that_is_not_in_its_character_set_is_refused():
    dataset = worklist_dataset("A1")
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müller^Jürgen"
    written = part_10(dataset).replace(b"ISO_IR 100", b"ISO_IR 192")
    with pytest.raises(RefusedItem, match="mend its encoding"):
        WorklistItem.of(dcmread(io.BytesIO(written)))


def test_a_character_set_that_there_is_not_is_refused():
    dataset = worklist_dataset("A1")
    dataset.SpecificCharacterSet = "ISO_IR 999"
    with pytest.raises(RefusedItem, match="SpecificCharacterSet"):
        WorklistItem.of(dataset)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P\0001"),
        ("StudyInstanceUID", "1." + "2" * 63),
        ("Modality", "X" * 17),
        ("ScheduledStationAETitle", ["DX1", "X" * 17]),
        ("ScheduledProcedureStepID", "S" * 65),
        ("RequestedProcedureID", "R" * 65),
        ("AccessionNumber", "A" * 65),
        ("PatientID", "P" * 257),
        ("PatientName", "Doe=" + "D" * 257),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_database_would_refuse_is_refused_by_name(keyword, value):
    dataset = worklist_dataset("A1")
    place = dataset if keyword in dataset else dataset.ScheduledProcedureStepSequence[0]
    setattr(place, keyword, value)
    with pytest.raises(RefusedItem) as refused:
        WorklistItem.of(dataset)
    assert refused.value.attribute in {keyword, ""}
    assert str(value) not in str(refused.value)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("RequestedProcedureCodeSequence", "LO", "CHEST"),
        ("ScheduledProcedureStepSequence", "LO", "X"),
        ("PatientComments", "SQ", [Dataset()]),
    ],
)
def test_an_attribute_of_another_kind_is_refused_by_name(keyword, vr, value):
    dataset = worklist_dataset("A1")
    dataset.add(DataElement(Tag(keyword), vr, value))
    with pytest.raises(RefusedItem, match=keyword) as refused:
        WorklistItem.of(dataset)
    assert refused.value.attribute == keyword


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_text_that_no_answer_can_hold_is_refused():
    dataset = worklist_dataset("A1")
    dataset.RequestedProcedureComments = "ü" * 33_000  # in UTF-8 more than the 65,534 bytes of a LT
    with pytest.raises(RefusedItem, match="cannot be encoded"):
        WorklistItem.of(dataset)


def test_orders_without_a_number_are_told_apart_by_their_patients():
    def key(accession_number: str, patient_id: str, issuer: str) -> str:
        dataset = worklist_dataset("A1")
        dataset.AccessionNumber, dataset.PatientID, dataset.IssuerOfPatientID = (
            accession_number,
            patient_id,
            issuer,
        )
        return WorklistItem.of(dataset).key

    patients = [("P1", ""), ("P2", ""), ("P2", "WARD"), ("A1", "")]
    assert len({key("", *patient) for patient in patients} | {key("A1", "P1", "")}) == 5
    assert key("A1", "P1", "") == key("A1", "P2", "")


def test_an_item_of_a_sequence_may_have_a_character_set_of_its_own():
    dataset = worklist_dataset("A1")
    step = dataset.ScheduledProcedureStepSequence[0]
    step.SpecificCharacterSet = "ISO_IR 100"
    step.ScheduledPerformingPhysicianName = "Müller^Jürgen"
    encoded = WorklistItem.of(dcmread(io.BytesIO(part_10(dataset)))).to_bytes()
    (kept,) = read_elements(encoded)[Tag("ScheduledProcedureStepSequence")]
    assert kept[Tag("ScheduledPerformingPhysicianName")].decode().rstrip() == "Müller^Jürgen"
    assert Tag("SpecificCharacterSet") not in kept


def test_an_unknown_character_set_of_an_item_of_a_sequence_is_refused():
    dataset = worklist_dataset("A1")
    dataset.ScheduledProcedureStepSequence[0].SpecificCharacterSet = "ISO_IR 999"
    with pytest.raises(RefusedItem, match="SpecificCharacterSet"):
        WorklistItem.of(dataset)
