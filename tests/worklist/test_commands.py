"""``cxr-pacs worklist``: what an administrator sees and does."""

from __future__ import annotations

import json

import pytest
from worklist_items import part_10, worklist_dataset, worklist_item

from cxr_pacs.cli import main
from cxr_pacs.worklist import StepState, open_worklist


@pytest.fixture
def site(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text(f'[spool]\npath = "{tmp_path / "spool"}"\n')
    return config


@pytest.fixture
def told(capsys, site):
    def run(*arguments):
        capsys.readouterr()
        status = main(["worklist", *map(str, arguments), "--config", str(site)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def worklist(tmp_path, told):
    told("list")
    opened = open_worklist(f"sqlite:///{tmp_path / 'spool' / 'ledger.sqlite'}")
    yield opened
    opened.engine.dispose()


def test_items_are_listed_in_the_order_of_their_start(told, worklist):
    with worklist.begin() as connection:
        items = [worklist_item(f"A{n}", day=f"2026112{n}") for n in (3, 1, 2)]
        worklist.put(connection, items, "command", 0.0)
    status, out, _ = told("list")
    assert status == 0
    assert out.index("A1") < out.index("A2") < out.index("A3")
    listed = json.loads(told("list", "--json", "--date", "20261122-20261123", "--state", "scheduled")[1])
    assert [one["dataset"]["00080050"]["Value"] for one in listed] == [["A2"], ["A3"]]
    assert told("list", "--modality", "CR")[1].strip().endswith("0 items")


def _listed(told):
    return json.loads(told("list", "--json")[1])


def test_what_is_added_is_listed_and_removed(told):
    attributes = ("PatientName=Müller^Jürgen", "PatientID=P7", "ScheduledProcedureStepSequence.Modality=CR")
    options = [word for one in (*attributes, "ScheduledStationAETitle=CR1") for word in ("-m", one)]
    status, out, err = told("add", *options)
    assert (status, err) == (0, "")
    (one,) = _listed(told)
    accession = one["dataset"]["00080050"]["Value"][0]
    assert accession in out
    step = one["dataset"]["00400100"]["Value"][0]
    assert step["00080060"]["Value"] == ["CR"]
    assert step["00400009"]["Value"] == [accession]
    assert one["dataset"]["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert one["dataset"]["0020000D"]["Value"][0].startswith("2.25.")
    assert (one["origin"], one["state"]) == ("command", "SCHEDULED")
    assert told("remove", accession)[:2] == (0, "1 cancelled\n")
    assert _listed(told)[0]["state"] == "CANCELLED"
    assert told("remove", accession)[:2] == (0, "0 cancelled\n")
    assert told("remove", accession, "--forget")[0] == 0
    assert _listed(told) == []
    assert told("remove", accession) == (1, "", "cxr-pacs: no item has this accession number or step ID\n")


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("PatientNam=Doe^Jane", "did you mean PatientName?"),
        ("PatientBirthDate=Doe", "PatientBirthDate: give a date YYYYMMDD"),
        ("PatientID.PatientName=Doe", "PatientID is no sequence"),
        ("PixelData=Doe", "cannot be given as text"),
        ("PatientName=", "PatientName is missing or empty"),
    ],
)
def test_what_cannot_be_added_is_said_by_its_name(told, attribute, said):
    needed = ("PatientID=P7", "ScheduledStationAETitle=CR1", attribute)
    status, _, err = told("add", *[word for one in needed for word in ("-m", one)])
    assert status == 1
    assert said in err
    assert "Doe" not in err
    assert _listed(told) == []


def test_an_item_whose_step_has_begun_is_not_cancelled(told, worklist):
    with worklist.begin() as connection:
        worklist.put(connection, [worklist_item("A1")], "command", 0.0)
        worklist.set_state(connection, 1, StepState.STARTED, 0.0)
    status, out, err = told("remove", "SA1")
    assert (status, out) == (1, "0 cancelled\n")
    assert "STARTED" in err
    assert _listed(told)[0]["state"] == "STARTED"


def test_of_a_completed_step_and_of_a_state_that_is_none_the_commands_tell(told, worklist, tmp_path):
    with worklist.begin() as connection:
        worklist.put(connection, [worklist_item("A1")], "command", 0.0)
        worklist.set_state(connection, 1, StepState.COMPLETED, 0.0)
    path = tmp_path / "one.wl"
    path.write_bytes(part_10(worklist_dataset("A1", station="DX9")))
    status, out, err = told("import", path)
    assert (status, out) == (0, f"{path}: 0 added, 1 changed, 0 as before\n")
    assert err == f"cxr-pacs: {path}: 1 of these are of completed steps, and no query is answered with them\n"
    same = ("AccessionNumber=A1", "RequestedProcedureID=RA1", "ScheduledProcedureStepID=SA1")
    needed = ("PatientName=Doe^Jane", "PatientID=P1", "ScheduledStationAETitle=DX1", *same)
    status, out, _ = told("add", *[word for one in needed for word in ("-m", one)])
    assert status == 0
    assert out.startswith("changed: accession number A1, step SA1; its step is completed, and no query")
    begun = ("AccessionNumber=A2", *needed[:3], "ScheduledProcedureStepStatus=STARTED")
    status, _, err = told("add", *[word for one in begun for word in ("-m", one)])
    assert status == 1
    assert "ScheduledProcedureStepStatus is not one of SCHEDULED, ARRIVED, READY: give an item before" in err
    arrived = (*begun[:4], "ScheduledProcedureStepStatus=ARRIVED")
    assert told("add", *[word for one in arrived for word in ("-m", one)])[0] == 0
    assert [one["state"] for one in _listed(told)] == ["COMPLETED", "ARRIVED"]


def test_generated_items_are_the_same_for_one_seed(told):
    assert told("generate", "20", "--seed", "3", "--first-day", "20261124", "--days", "3")[0] == 0
    first = [one["dataset"] for one in _listed(told)]
    assert len(first) == 20
    again = told("generate", "20", "--seed", "3", "--first-day", "20261124", "--days", "3")[1]
    assert again == "0 added, 0 changed, 20 as before (--seed 3)\n"
    told("generate", "20", "--seed", "4", "--first-day", "20261124")
    assert len(_listed(told)) == 40
    named = {one["00100010"]["Value"][0]["Alphabetic"] for one in first}
    assert any(not name.isascii() for name in named)
    assert {one["00400100"]["Value"][0]["00080060"]["Value"][0] for one in first} == {"CR", "DX"}
