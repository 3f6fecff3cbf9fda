"""Worklist items of files: DICOM, the DICOM JSON model, tables."""

from __future__ import annotations

import json
import uuid

import pytest
from worklist_items import part_10, worklist_dataset

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist.files import read_dicom, read_items

_SITE = uuid.UUID(int=7)
_HEADER = (
    "AccessionNumber;PatientID;PatientName;PatientSex;ScheduledStationAETitle;"
    "ScheduledProcedureStepSequence.Modality;ScheduledProcedureStepStartDate;ScheduledProcedureStepStartTime"
)
_ROW = "A1;P1;Müller^Jürgen;F;DX1;DX;20261124;0930"


def _read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_items(path, _SITE)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_a_table_is_read(tmp_path, separator):
    text = f"{_HEADER}\n{_ROW}\n\n{_ROW.replace('A1', 'A2')}\n".replace(";", separator)
    read = _read(tmp_path, "orders.csv", "\ufeff" + text)
    assert read.faults == ()
    first, second = read.items
    assert first.text("PatientName") == "Müller^Jürgen"
    assert (first.key, first.modality) == ("A1\\A1\\A1", "DX")
    assert first.text("StudyInstanceUID") != second.text("StudyInstanceUID")
    assert read.items == _read(tmp_path, "orders.csv", text).items


def test_without_an_accession_number_each_patient_has_a_study(tmp_path):
    header = f"RequestedProcedureID;ScheduledProcedureStepID;IssuerOfPatientID;{_HEADER}"
    rows = [f"1;{step};{issuer};;{who}{_ROW[5:]}" for step, issuer, who in [(1, "", "P1"), (2, "", "P2")]]
    rows += [f"1;3;CLINIC;;P1{_ROW[5:]}", f"1;4;;;P1{_ROW[5:]}"]
    read = _read(tmp_path, "orders.csv", "\n".join([header, *rows]))
    first, *others, same = (item.text("StudyInstanceUID") for item in read.items)
    assert len({first, *others}) == 3
    assert same == first


def test_every_fault_of_a_table_is_told_by_line_and_column_and_nothing_is_taken(tmp_path):
    rows = [_ROW, _ROW.replace(";F;", ";female;"), _ROW.replace("20261124", "24.11."), "A1;P1", _ROW]
    read = _read(tmp_path, "orders.csv", "\n".join([_HEADER, *rows]))
    assert read.items == ()
    assert [fault.partition(":")[0] for fault in read.faults] == [
        "line 3, column 4",
        "line 4, column 7",
        "line 5",
        "line 6",
    ]
    assert "the same order and step as line 2" in read.faults[3]
    assert "Müller" not in str(read.faults)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no item"),
        (_HEADER.encode(), "no item"),
        (f"{_HEADER}\n{_ROW}".encode("latin-1"), "line 2: it is not UTF-8"),
        (b'PatientID;PatientName\nP1;"Doe', "line 2"),
        (b"PatientID;PatientID\nP1;P2", "named twice"),
        (b"Patient;PatientID\nP1;P2", "did you mean PatientID"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path, content, said):
    read = _read(tmp_path, "orders.csv", content)
    assert said in read.faults[0]
    assert read.items == ()


def test_json_is_read_as_one_item_or_many(tmp_path):
    documents = [worklist_dataset(name).to_json_dict() for name in ("A1", "A2")]
    many = _read(tmp_path, "items.json", json.dumps(documents))
    assert [one.text("AccessionNumber") for one in many.items] == ["A1", "A2"]
    assert len(_read(tmp_path, "item.json", json.dumps(documents[0])).items) == 1
    del documents[1]["00100020"]
    assert _read(tmp_path, "items.json", json.dumps(documents)).faults == (
        "item 2: PatientID is missing or empty: give it a value",
    )
    for wrong in ("[1]", "{", '{"00100010": 3}', '[{"00100010": {"vr": "XX", "Value": [1]}}]', "[" * 10**5):
        assert _read(tmp_path, "items.json", wrong).faults


@pytest.mark.parametrize("begin", ["preamble", "meta information", "data set"])
def test_a_part_of_a_file_is_refused_or_lacks_only_what_it_may(begin):
    dataset = worklist_dataset("A1")
    dataset.RequestedProcedurePriority = "ROUTINE"
    content = part_10(dataset)
    first = {"preamble": 0, "meta information": 132, "data set": content.index(b"\x08\x00\x05\x00CS")}[begin]
    whole = read_dicom(content[first:]).dataset
    lacking = set()
    for cut in range(first, len(content)):
        try:
            found = read_dicom(content[first:cut]).dataset
        except RefusedItem:
            continue
        lacking.add(tuple(element.keyword for element in whole if element.tag not in found))
    # Only where the cut is between two elements.
    assert lacking == {("RequestedProcedurePriority",)}
