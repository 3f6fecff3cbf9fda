"""A worklist item: text of every character set becomes Unicode, and stays it in the store."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread
from worklist_items import part_10, worklist_dataset

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist import WorklistItem


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
