"""The wrong patient under a known accession number, as a user meets it: commands, DCMTK, an archive."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from peers import Archive, Destination, Gateway, dciodvfy, eventually, of_modality, storescu, told, workflows
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import Dataset

DEADLINE = 60
EXPECTED, WRONG = ("EXPECTED-1", "Expected^Patient"), ("WRONG-2", "Another^Person")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as running:
        yield running


@pytest.fixture
def gateway(
    archive: Archive, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gateway]:
    monkeypatch.setattr(Gateway, "command", COMMAND)
    made = make_gateway(
        Destination(name="archive", ae_title=archive.ae_title, port=archive.port),
        order_check={"worklist": "own"},
    )
    made.start()
    yield made
    assert made.stop() == 0, made.log_tail()


def _worklist(gateway: Gateway, *arguments: str) -> str:
    command = [sys.executable, "-m", "cxr_pacs", "worklist", *arguments, "--config", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _order(gateway: Gateway, accession_number: str, study: str) -> None:
    patient_id, name = EXPECTED
    attributes = {
        "AccessionNumber": accession_number,
        "PatientID": patient_id,
        "PatientName": name,
        "StudyInstanceUID": study,
        "ScheduledStationAETitle": "DX1",
    }
    options = (option for keyword, value in attributes.items() for option in ("-m", f"{keyword}={value}"))
    assert accession_number in _worklist(gateway, "add", *options)


def _send(gateway: Gateway, folder: Path, patient: tuple[str, str], accession_number: str) -> tuple[str, str]:
    """Send a radiograph with DCMTK; its study and its own UID."""
    patient_id, name = patient
    film = new_radiograph(PatientID=patient_id, PatientName=name, AccessionNumber=accession_number)
    path = folder / f"{accession_number}.dcm"
    film.save_as(path, enforce_file_format=True)
    _order(gateway, accession_number, str(film.StudyInstanceUID))
    assert storescu(path, gateway.port, transfer_syntax=ExplicitVRLittleEndian).returncode == 0
    return str(film.StudyInstanceUID), str(film.SOPInstanceUID)


def _report(archive: Archive, study: str) -> Dataset:
    archive.wait_for(lambda held: of_modality(held, study) == ONE_OF_EACH, timeout=DEADLINE)
    (path,) = (one.path for one in archive.of_study(study) if one.modality == "SR")
    assert not [line for line in dciodvfy(path) if line.startswith("Error")]
    return dcmread(path)


def _told_of_hold(gateway: Gateway, study: str) -> str:
    said = told(gateway, "why", study)
    return said if "; held: " in said else ""


def test_it_is_held_explained_and_released_by_a_command(archive: Archive, gateway: Gateway, tmp_path: Path):
    study, image = _send(gateway, tmp_path, WRONG, "A-7001")
    said = eventually(lambda: _told_of_hold(gateway, study), timeout=DEADLINE, every=0.5)
    assert said.startswith("3: ")
    assert (
        "held: The image contradicts its order in the worklist in Patient ID, Patient's Name: correct the "
        "order and rerun the study, send the corrected image under new UIDs, or release it if it is right.\n"
    ) in said
    assert said.endswith("\n1 instance(s) are held and need a person.")
    assert not archive.receptions

    listed = told(gateway, "release", study)
    assert listed.startswith(f"0: held: {image} of study {study}\n")
    assert listed.endswith("1 image(s) that are held for their order would be released with --yes")
    gateway.kill()
    released = told(gateway, "release", study, "--yes")
    assert released.endswith("1 image(s) that are held for their order were released")
    gateway.start()
    report = _report(archive, study)
    assert report.PatientID == WRONG[0]
    assert "ReferencedRequestSequence" not in report
    said += eventually(lambda: _told_of_the_end(gateway, study), timeout=DEADLINE, every=0.5)
    assert "was released by an administrator: it is right as it is, whatever its order says." in said
    assert "it contradicts its order in the worklist in Patient ID, Patient's Name." in said

    right, _ = _send(gateway, tmp_path, EXPECTED, "A-7002")
    (request,) = _report(archive, right).ReferencedRequestSequence
    assert request.AccessionNumber == "A-7002"
    ordered = json.loads(_worklist(gateway, "list", "--json"))
    assert request.RequestedProcedureID in {item["dataset"]["00401001"]["Value"][0] for item in ordered}

    everything = said + listed + released + gateway.log_tail(10_000) + str(workflows(gateway))
    for secret in (*EXPECTED, *WRONG, "A-7001", "A-7002", "Expected", "Another"):
        assert secret not in everything


def _told_of_the_end(gateway: Gateway, study: str) -> str:
    said = told(gateway, "why", study)
    return said if said.startswith("0: ") else ""
