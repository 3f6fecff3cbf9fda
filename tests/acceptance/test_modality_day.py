"""A day: 200 orders by HL7, 20 cancelled, 180 examined by six simulated modalities, results in Orthanc.

Each image is compared with its order, and each report refers to that.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hl7_orders import connected, orm, sent
from peers import Destination, Gateway, Orthanc, eventually, free_port, told
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ORDERS, _CANCELLED, _ROOMS = 200, 20, 6
_DISCONTINUED = 0.1
_DAY = "20261124"
_DEADLINE = 120


def _accession_number(number: int) -> str:
    return f"A{number}"


def _study_uid(number: int) -> str:
    return f"2.25.{20261124000 + number}"


def _order(number: int, control: str) -> bytes:
    start = f"{_DAY}{8 + number // 30:02d}{number % 30 * 2:02d}00"
    message = orm(
        f"{control}{number}",
        control=control,
        order=str(number),
        name=f"Day^{number}",
        start=start,
        study=_study_uid(number),
    )
    return message.replace(b"|DX1|", f"|ROOM{number % _ROOMS}|".encode())


def _ordered(port: int) -> None:
    """200 orders come, and 20 of them are cancelled."""
    with connected(port) as filler:
        for number in range(_ORDERS):
            assert sent(filler, _order(number, "NW"))["MSA"][1] == "AA"
        for number in range(_CANCELLED):
            assert sent(filler, _order(number, "CA"))["MSA"][1] == "AA"


def _cxr_pacs(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def _examined(gateway: Gateway, images: Path) -> dict[str, Any]:
    stations = [f"--station=ROOM{number}" for number in range(_ROOMS)]
    summary: dict[str, Any] = json.loads(
        _cxr_pacs(
            "simulate",
            "modality",
            f"{gateway.ae_title}@{gateway.host}:{gateway.port}",
            *stations,
            "--modality=DX",
            f"--date={_DAY}",
            f"--images={images}",
            f"--discontinued={_DISCONTINUED}",
            "--at-once=3",
            "--json",
        )
    )
    return summary


def _in_orthanc(orthanc: Orthanc) -> dict[tuple[str, str], Counter[str]]:
    """Modalities of the instances by accession number and Study Instance UID."""
    with urllib.request.urlopen(f"http://127.0.0.1:{orthanc.http_port}/studies?expand", timeout=60) as answer:
        tags = [study["MainDicomTags"] for study in json.load(answer)]
    instances = orthanc.instances
    return {
        (one["AccessionNumber"], one["StudyInstanceUID"]): Counter(
            i.modality for i in instances if i.study_instance_uid == one["StudyInstanceUID"]
        )
        for one in tags
    }


def _orders_of_reports(orthanc: Orthanc) -> dict[str, tuple[str, ...]]:
    """By Study Instance UID: a report's own accession number, and what it says of the one order behind it."""
    found = {}
    for instance in orthanc.instances:
        if instance.modality == "SR":
            report = orthanc.read(instance)
            (request,) = report.ReferencedRequestSequence
            found[str(report.StudyInstanceUID)] = (
                str(report.AccessionNumber),
                str(request.AccessionNumber),
                str(request.RequestedProcedureID),
                str(request.PlacerOrderNumberImagingServiceRequest),
            )
    return found


@pytest.mark.timeout(600)
def test_a_day(tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    monkeypatch.setenv(SECONDS, "0")
    (tmp_path / "images").mkdir()
    new_radiograph().save_as(tmp_path / "images" / "chest.dcm")
    hl7_port = free_port()
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": (Gateway.ae_title, free_port())}) as orthanc:
        gateway = make_gateway(
            Destination(name="orthanc", ae_title=orthanc.ae_title, port=orthanc.port),
            dicom={"max_associations": 64},
            worklist={"serve": True},
            mpps={"serve": True},
            commitment={"provide": True},
            hl7={"port": hl7_port},
            order_check={"worklist": "own"},
        )
        gateway.start()
        _ordered(hl7_port)

        summary = _examined(gateway, tmp_path / "images")
        assert summary["failures"] == []
        assert summary["outcomes"] == {"completed": 162, "discontinued": 18, "failed": 0}
        assert summary["latencies"]["commitment"]["count"] == 162

        states = {
            item["dataset"]["00080050"]["Value"][0]: item["state"]
            for item in json.loads(_cxr_pacs("worklist", "list", "--config", str(gateway.config), "--json"))
        }
        assert Counter(states.values()) == {"COMPLETED": 162, "DISCONTINUED": 18, "CANCELLED": 20}
        assert {states[_accession_number(number)] for number in range(_CANCELLED)} == {"CANCELLED"}
        reported = {
            (_accession_number(number), _study_uid(number)): ONE_OF_EACH
            for number in range(_ORDERS)
            if states[_accession_number(number)] == "COMPLETED"
        }
        eventually(lambda: orthanc.count >= 2 * len(reported), timeout=_DEADLINE, every=0.5)
        assert _in_orthanc(orthanc) == reported
        # No image has the placer's number: a report has it from the order with which its image agrees.
        assert _orders_of_reports(orthanc) == {
            study: (accession, accession, f"R{accession[1:]}", f"PL{accession[1:]}")
            for accession, study in reported
        }
        told_of_one = told(gateway, "why", next(study for _, study in reported))
        assert "the worklist has its order, and they agree." in told_of_one
        assert gateway.stop() == 0, gateway.log_tail()
