"""The gateway and dcm4che's tools, each conversation by itself; `DCM4CHE_BIN` names their folder."""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from dcm4che import dcm4che, listening, needed, tool
from peers import Destination, Gateway, eventually, free_port, instances, send, told
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import FileDataset

    MakeGateway = Callable[..., Gateway]

_DEADLINE = 120
_ITEM = {
    "AccessionNumber": "A4711",
    "StudyInstanceUID": "2.25.4711",
    "PatientID": "P4711",
    "PatientName": "Doe^Jane",
    "RequestedProcedureID": "R4711",
    "ScheduledProcedureStepID": "S4711",
    "ScheduledStationAETitle": "ROOM1",
    "Modality": "DX",
}
_ARCHIVE = "DCMQRSCP"


@pytest.fixture(autouse=True)
def _swift(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    monkeypatch.setenv(SECONDS, "0")


def _cxr_pacs(*arguments: object) -> str:
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def _address(gateway: Gateway) -> str:
    return f"{gateway.ae_title}@{gateway.host}:{gateway.port}"


@contextmanager
def _serving(gateway: Gateway) -> Iterator[None]:
    """It runs, and has one worklist item."""
    gateway.start()
    options = (option for keyword, value in _ITEM.items() for option in ("-m", f"{keyword}={value}"))
    _cxr_pacs("worklist", "add", "--config", gateway.config, *options)
    yield
    assert gateway.stop() == 0, gateway.log_tail()


def _film(path: Path) -> FileDataset:
    """The image of the worklist item, in a file."""
    request = Dataset()
    request.RequestedProcedureID = _ITEM["RequestedProcedureID"]
    request.ScheduledProcedureStepID = _ITEM["ScheduledProcedureStepID"]
    of_image = ("StudyInstanceUID", "PatientID", "PatientName")
    film = new_radiograph(
        StudyDate="20260310",
        StudyTime="060000",
        RequestAttributesSequence=[request],
        **{keyword: _ITEM[keyword] for keyword in of_image},
    )
    film.save_as(path, enforce_file_format=True)
    return film


@contextmanager
def _dcmqrscp(folder: Path, port: int, gateway_port: int) -> Iterator[None]:
    """An archive that knows the gateway; of our objects it takes those of these classes."""
    folder.mkdir()
    classes = (
        DigitalXRayImageStorageForPresentation,
        SecondaryCaptureImageStorage,
        Comprehensive3DSRStorage,
    )
    (folder / "classes").write_text("".join(f"{uid}:*\n" for uid in classes))
    (folder / "peers").write_text(f"{Gateway.ae_title}=127.0.0.1:{gateway_port}\n")
    options = ("-b", f"{_ARCHIVE}:{port}", "--dicomdir", folder / "held" / "DICOMDIR", "--match-no-value")
    files = ("--storage-sop-classes", folder / "classes", "--ae-config", folder / "peers")
    with listening("dcmqrscp", port, folder / "log", *options, *files):
        yield


def _read(folder: Path) -> list[Dataset]:
    """What is in the files below a folder, of those that are whole."""
    found = []
    for path in folder.rglob("*"):
        with suppress(InvalidDicomError, EOFError, FileNotFoundError):
            if path.is_file() and path.name != "DICOMDIR" and path.suffix != ".part":
                found.append(dcmread(path, stop_before_pixels=True))
    return found


def _wait_for_result(folder: Path) -> None:
    eventually(
        lambda: Counter(str(one.get("Modality")) for one in _read(folder)) == ONE_OF_EACH, timeout=_DEADLINE
    )


def test_a_tool_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there = tmp_path / "bin" / "dcm4che-findscu"
    there.parent.mkdir()
    there.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCM4CHE_BIN", "bin")
    assert tool("findscu") == there
    with pytest.raises(pytest.skip.Exception, match="neither storescu nor dcm4che-storescu"):
        needed("findscu", "storescu")


def test_findscu_asks_the_worklist(tmp_path: Path, make_gateway: MakeGateway):
    needed("findscu")
    gateway = make_gateway(worklist={"serve": True})
    with _serving(gateway):
        for modality in ("DX", "CR"):
            key = f"ScheduledProcedureStepSequence.Modality={modality}"
            out = ("--out-dir", tmp_path / modality)
            asked = ("-m", key, "-r", "AccessionNumber", "-r", "PatientName")
            dcm4che("findscu", "-M", "MWL", "-b", "TEST", "-c", _address(gateway), *asked, *out)
    (answer,) = (dcmread(path, force=True) for path in (tmp_path / "DX").iterdir())
    assert (answer.AccessionNumber, answer.PatientName) == (_ITEM["AccessionNumber"], _ITEM["PatientName"])
    assert list((tmp_path / "CR").iterdir()) == []


def test_mppsscu_discontinues_a_step(tmp_path: Path, make_gateway: MakeGateway):
    needed("mppsscu")
    _film(tmp_path / "image.dcm")
    gateway = make_gateway(worklist={"serve": True}, mpps={"serve": True})
    with _serving(gateway):
        given = (
            "--ppsid-new",
            "--dc",
            "--dc-reason",
            "DCM-110513",
            "-s",
            f"AccessionNumber={_ITEM['AccessionNumber']}",
        )
        dcm4che("mppsscu", "-b", "ROOM1", "-c", _address(gateway), *given, "--", tmp_path / "image.dcm")
        assert "DISCONTINUED" in _cxr_pacs("worklist", "list", "--config", gateway.config)


def test_steps_are_sent_on_to_mppsscp(tmp_path: Path, make_gateway: MakeGateway):
    needed("mppsscp")
    port, folder = free_port(), tmp_path / "steps"
    gateway = make_gateway(
        worklist={"serve": True},
        mpps={"serve": True},
        mpps_destination=[{"name": "ris", "ae_title": "MPPSSCP", "host": "127.0.0.1", "port": port}],
    )
    server = ("-b", f"MPPSSCP:{port}", "--directory", folder)
    with listening("mppsscp", port, tmp_path / "log", *server), _serving(gateway):
        _cxr_pacs("simulate", "modality", _address(gateway), "--station=ROOM1", "--commitment=none")
        states = ["COMPLETED"]
        eventually(
            lambda: [one.get("PerformedProcedureStepStatus") for one in _read(folder)] == states,
            timeout=_DEADLINE,
        )
    (step,) = _read(folder)
    assert step.ScheduledStepAttributesSequence[0].AccessionNumber == _ITEM["AccessionNumber"]
    assert len(step.PerformedSeriesSequence[0].ReferencedImageSequence) == 1


def test_results_are_delivered_to_storescp(tmp_path: Path, make_gateway: MakeGateway):
    needed("storescp")
    port, folder = free_port(), tmp_path / "delivered"
    gateway = make_gateway(Destination(name="archive", ae_title="STORESCP", port=port))
    server = ("-b", f"STORESCP:{port}", "--accept-unknown", "--directory", folder)
    with listening("storescp", port, tmp_path / "log", *server), _serving(gateway):
        assert send([new_radiograph()], gateway.port) == [0]
        _wait_for_result(folder)


def test_results_are_delivered_to_dcmqrscp_which_commits_them(tmp_path: Path, make_gateway: MakeGateway):
    needed("dcmqrscp")
    port, film = free_port(), new_radiograph()
    gateway = make_gateway(
        Destination(name="archive", ae_title=_ARCHIVE, port=port, commitment=True),
        commitment={"gather": 0.5, "wait": 0.0},
    )
    with _dcmqrscp(tmp_path / "archive", port, gateway.port), _serving(gateway):
        assert send([film], gateway.port) == [0]
        _wait_for_result(tmp_path / "archive" / "held")
        said = "was committed by archive."
        why = ("why", str(film.StudyInstanceUID))
        eventually(lambda: told(gateway, *why).count(said) == 2, timeout=_DEADLINE, every=0.5)


@pytest.mark.parametrize("method", ["get", "move"])
def test_missed_images_are_fetched_from_dcmqrscp(tmp_path: Path, make_gateway: MakeGateway, method: str):
    needed("dcmqrscp")
    port, film = free_port(), _film(tmp_path / "image.dcm")
    archive = {"name": "archive", "ae_title": _ARCHIVE, "host": "127.0.0.1", "port": port, "method": method}
    gateway = make_gateway(archive=[archive])
    with _dcmqrscp(tmp_path / "archive", port, gateway.port), _serving(gateway):
        assert send([film], port, called=_ARCHIVE) == [0]
        _cxr_pacs("fetch", "--since=2026-03-10T05:00", "--until=2026-03-11", "--config", gateway.config)
        _wait_for_decision(gateway, film)


def test_movescu_has_dcmqrscp_send_to_the_gateway(tmp_path: Path, make_gateway: MakeGateway):
    needed("dcmqrscp", "movescu")
    port, film = free_port(), _film(tmp_path / "image.dcm")
    gateway = make_gateway()
    with _dcmqrscp(tmp_path / "archive", port, gateway.port), _serving(gateway):
        assert send([film], port, called=_ARCHIVE) == [0]
        called = ("-c", f"{_ARCHIVE}@127.0.0.1:{port}", "--dest", gateway.ae_title)
        dcm4che("movescu", *called, "-m", f"StudyInstanceUID={film.StudyInstanceUID}")
        _wait_for_decision(gateway, film)


def _wait_for_decision(gateway: Gateway, film: FileDataset) -> None:
    (came,) = eventually(
        lambda: [row for row in instances(gateway) if row["decision"] == "accept"], timeout=_DEADLINE
    )
    assert came["sop_instance_uid"] == film.SOPInstanceUID


def test_storescu_stores_and_stgcmtscu_is_told(tmp_path: Path, make_gateway: MakeGateway):
    needed("storescu", "stgcmtscu")
    film = _film(tmp_path / "image.dcm")
    gateway = make_gateway(commitment={"provide": True})
    with _serving(gateway):
        called = ("-b", "ROOM1", "-c", _address(gateway))
        dcm4che("storescu", *called, tmp_path / "image.dcm")
        waits = ("--keep-alive", "--directory", tmp_path / "told")
        dcm4che("stgcmtscu", *called, *waits, tmp_path / "image.dcm")
    (report,) = _read(tmp_path / "told")
    (vouched,) = report.ReferencedSOPSequence
    assert vouched.ReferencedSOPInstanceUID == film.SOPInstanceUID
    assert not report.get("FailedSOPSequence")
