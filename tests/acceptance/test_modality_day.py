"""A whole day: 200 orders, 20 of them cancelled, 180 examined by six simulated modalities, results in Orthanc."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from peers import Destination, Gateway, Orthanc, eventually, free_port
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
    return f"DAY{number:04d}"


def _study_uid(number: int) -> str:
    return f"2.25.{20261124000 + number}"


def _orders() -> str:
    rows = [
        {
            "AccessionNumber": _accession_number(number),
            "StudyInstanceUID": _study_uid(number),
            "PatientID": f"P{number}",
            "PatientName": f"Day^{number}",
            "PatientBirthDate": "19700101",
            "PatientSex": "F",
            "RequestedProcedureID": f"R{number}",
            "RequestedProcedureDescription": "Chest PA",
            "ScheduledProcedureStepID": f"S{number}",
            "Modality": "DX",
            "ScheduledStationAETitle": f"ROOM{number % _ROOMS}",
            "ScheduledProcedureStepStartDate": _DAY,
            "ScheduledProcedureStepStartTime": f"{8 + number // 30:02d}{number % 30 * 2:02d}",
        }
        for number in range(_ORDERS)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _cxr_pacs(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=240, check=False)
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


def test_a_day(tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    monkeypatch.setenv(SECONDS, "0")
    (tmp_path / "images").mkdir()
    new_radiograph().save_as(tmp_path / "images" / "chest.dcm")
    (tmp_path / "orders.csv").write_text(_orders(), encoding="utf-8")
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": (Gateway.ae_title, free_port())}) as orthanc:
        gateway = make_gateway(
            Destination(name="orthanc", ae_title=orthanc.ae_title, port=orthanc.port),
            dicom={"max_associations": 64},
            worklist={"serve": True},
            mpps={"serve": True},
            commitment={"provide": True},
        )
        gateway.start()
        config = str(gateway.config)
        _cxr_pacs("worklist", "import", "--config", config, str(tmp_path / "orders.csv"))
        for number in range(_CANCELLED):
            _cxr_pacs("worklist", "remove", "--config", config, _accession_number(number))

        summary = _examined(gateway, tmp_path / "images")
        assert summary["failures"] == []
        assert summary["outcomes"] == {"completed": 162, "discontinued": 18, "failed": 0}
        assert summary["latencies"]["commitment"]["count"] == 162

        states = {
            item["dataset"]["00080050"]["Value"][0]: item["state"]
            for item in json.loads(_cxr_pacs("worklist", "list", "--config", config, "--json"))
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
        assert gateway.stop() == 0, gateway.log_tail()
