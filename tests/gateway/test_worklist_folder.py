"""A watched folder of worklist files: what is written, changed and removed there, in one piece or in many."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import dcmtk, eventually, free_port
from worklist_items import part_10, worklist_dataset, worklist_item

from cxr_pacs.gateway import worklist_folder
from cxr_pacs.gateway.worklist_folder import WorklistFolder
from cxr_pacs.worklist import StepState, open_worklist
from cxr_pacs.worklist.files import read_dicom
from cxr_pacs.worklist.listing import Wanted, listed

_DUMP = """
(0008,0005) CS [ISO_IR 100]
(0008,0050) SH [{accession}]
(0010,0010) PN [VIVALDI^ANTONIO]
(0010,0020) LO [AV35674]
(0020,000d) UI [1.2.276.0.7230010.3.2.101]
(0032,1060) LO [EXAM6]
(0040,0100) SQ
(fffe,e000) -
(0008,0060) CS [MR]
(0040,0001) AE [AA32\\AA33]
(0040,0002) DA [19951015]
(0040,0003) TM [085607]
(0040,0007) LO [EXAM74]
(0040,0009) SH [SPD3445]
(fffe,e00d) -
(fffe,e0dd) -
(0040,1001) SH [RP454G234]
"""


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    monkeypatch.setattr(worklist_folder, "_SETTLED", 0.2)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "worklist"
    made.mkdir()
    return made


@pytest.fixture
def worklist(tmp_path):
    opened = open_worklist(f"sqlite:///{tmp_path / 'worklist.sqlite'}")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def watching(folder, worklist, caplog):
    caplog.set_level(logging.INFO, logger="cxr_pacs")
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    watch.start()
    yield watch
    watch.stop()


def _states(worklist):
    with worklist.begin() as connection:
        return {one.item.text("AccessionNumber"): one.state for one in listed(connection, Wanted())}


def _write(path, accession, **options):
    path.write_bytes(part_10(worklist_dataset(accession, **options)))


def _shown(path):
    """What the log calls a file."""
    return f"file {hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _looked(folder, worklist):
    """The worklist after a look at every file as if it had settled."""
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    watch.look()
    eventually(lambda: not watch.look(), timeout=20)
    return _states(worklist)


@pytest.mark.usefixtures("watching")
def test_a_file_is_added_changed_and_removed_at_once(folder, worklist):
    _write(folder / "one.wl", "A1")
    (folder / "lockfile").touch()
    (folder / "one.txt").write_text("A2")
    _write(folder / ".hidden.wl", "A3")
    eventually(lambda: _states(worklist) == {"A1": StepState.SCHEDULED}, timeout=20)
    with worklist.begin() as connection:
        assert listed(connection, Wanted())[0].origin == "file:one.wl"
    _write(folder / "one.wl", "A1", station="DX77")
    eventually(lambda: _stations(worklist) == {"DX77"}, timeout=20)
    (folder / "one.wl").unlink()
    eventually(lambda: _states(worklist) == {"A1": StepState.CANCELLED}, timeout=20)
    _write(folder / "one.wl", "A1")
    eventually(lambda: _states(worklist) == {"A1": StepState.SCHEDULED}, timeout=20)


def _stations(worklist):
    with worklist.begin() as connection:
        return {title for one in listed(connection, Wanted()) for title in one.item.stations}


@pytest.mark.usefixtures("watching")
def test_a_file_written_in_pieces_is_taken_once_it_is_whole(folder, worklist, caplog):
    content = part_10(worklist_dataset("A1"))
    with (folder / "one.wl").open("wb") as file:
        file.write(content[:-30])
        file.flush()
        # So long that it seems to be finished.
        eventually(lambda: f"{_shown(folder / 'one.wl')} is not taken" in caplog.text, timeout=20)
        assert _states(worklist) == {}
        file.write(content[-30:])
    eventually(lambda: _states(worklist) == {"A1": StepState.SCHEDULED}, timeout=20)
    assert caplog.text.count("is not taken") == 1
    assert "Doe" not in caplog.text


def test_a_bad_file_is_told_once_and_the_others_are_taken(folder, worklist, caplog):
    _write(folder / "good.wl", "A1")
    _write(Path(os.fsdecode(bytes(folder) + b"/\xff.wl")), "A3")
    (folder / "text.wl").write_text("Doe^Jane" * 100)
    incomplete = worklist_dataset("A2")
    del incomplete.PatientID
    (folder / "incomplete.wl").write_bytes(part_10(incomplete))
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    watch.look()
    eventually(lambda: not watch.look(), timeout=20)
    assert not watch.look()
    assert _states(worklist) == {"A1": StepState.SCHEDULED}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 3
    incomplete, text, unprintable = (
        _shown(folder / name) for name in ("incomplete.wl", "text.wl", "\udcff.wl")
    )
    assert f"{incomplete} is not taken: PatientID is missing or empty" in said[0]
    assert f"{text} is not taken" in said[1]
    assert f"{unprintable} is not taken: its name" in said[2]
    assert "Doe" not in caplog.text


def test_a_file_is_taken_no_sooner_than_it_has_settled(folder, worklist, monkeypatch):
    monkeypatch.setattr(worklist_folder, "_SETTLED", 1000.0)
    _write(folder / "one.wl", "A1")
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    assert watch.look()
    assert watch.look()
    assert _states(worklist) == {}
    monkeypatch.setattr(worklist_folder, "_SETTLED", 0.0)
    assert not watch.look()
    assert _states(worklist) == {"A1": StepState.SCHEDULED}


def test_a_file_that_changes_while_it_is_read_is_read_again(folder, worklist, monkeypatch):
    monkeypatch.setattr(worklist_folder, "_SETTLED", 0.0)
    _write(folder / "one.wl", "A1", station="FIRST")

    def read_and_write(content):
        _write(folder / "one.wl", "A1", station="SECOND")
        monkeypatch.setattr(worklist_folder, "read_dicom", read_dicom)
        return read_dicom(content)

    monkeypatch.setattr(worklist_folder, "read_dicom", read_and_write)
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    watch.look()
    watch.look()
    assert _states(worklist) == {}
    watch.look()
    watch.look()
    assert _stations(worklist) == {"SECOND"}


def test_of_two_files_with_one_step_the_first_holds_it_until_it_goes(folder, worklist, caplog):
    _write(folder / "b.wl", "A1", station="FIRST")
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    watch.look()
    eventually(lambda: not watch.look(), timeout=20)
    _write(folder / "a.wl", "A1", station="SECOND")
    watch.look()
    eventually(lambda: not watch.look(), timeout=20)
    assert _stations(worklist) == {"FIRST"}
    first, second = _shown(folder / "b.wl"), _shown(folder / "a.wl")
    assert f"{second} waits: it is the same order and step as {first}" in caplog.text
    (folder / "b.wl").unlink()
    watch.look()
    eventually(lambda: not watch.look(), timeout=20)
    assert _states(worklist) == {"A1": StepState.SCHEDULED}
    assert _stations(worklist) == {"SECOND"}


_WRITTEN = st.tuples(st.sampled_from("abc"), st.sampled_from(["A1", "A2", "A3"]), st.integers(0, 999))
_GONE = st.tuples(st.sampled_from("abc"))
_BAD = st.tuples(st.sampled_from("abc"), st.integers(0, 100))


@settings(max_examples=20, deadline=None)
@given(changes=st.lists(st.tuples(_WRITTEN | _GONE | _BAD, st.booleans()), max_size=10))
def test_the_worklist_is_as_the_folder_after_any_changes(changes):
    worklist = open_worklist("sqlite://")
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(worklist_folder, "_SETTLED", 0.0)
        Path(name, "lockfile").touch()  # else it may not be mounted where all files are gone
        watch = WorklistFolder(Path(name), worklist, rescan=60.0)
        last: dict[str, tuple[str, str]] = {}
        for time, (change, looked) in enumerate(changes):
            path = Path(name, f"{change[0]}.wl")
            if len(change) == 1:
                path.unlink(missing_ok=True)
                last.pop(change[0], None)
            elif len(change) == 2:
                path.write_bytes(b"x" * change[1])
            else:
                _write(path, change[1], station=f"DX{change[2]}")
                last[change[0]] = (change[1], f"DX{change[2]}")
            if path.exists():
                os.utime(path, (time, time))
            if looked:
                watch.look()
                watch.look()
        whole = {file: held for file, held in last.items() if b"DX" in Path(name, f"{file}.wl").read_bytes()}
        for _ in range(6):
            watch.look()
        with worklist.begin() as connection:
            found = listed(connection, Wanted(state=StepState.SCHEDULED))
    worklist.engine.dispose()
    held = {(one.item.text("AccessionNumber"), one.item.stations[0]) for one in found}
    # Of a file that is damaged now, what it held stays, or was never seen.
    damaged = {held for file, held in last.items() if file not in whole}
    assert {accession for accession, _ in whole.values()} <= {accession for accession, _ in held}
    if not damaged:
        assert held <= set(whole.values())


def test_what_changed_while_nobody_watched_is_found(folder, worklist):
    for name in ("A1", "A2", "A3"):
        _write(folder / f"{name}.wl", name)
    assert set(_looked(folder, worklist)) == {"A1", "A2", "A3"}
    (folder / "A1.wl").unlink()
    _write(folder / "A2.wl", "A4")
    with worklist.begin() as connection:
        # Somebody else's word is the last one about a file that stays as it is.
        worklist.put(connection, [worklist_item("A3", station="OTHER")], "hl7", 1.0)
    states = _looked(folder, worklist)
    assert states == {
        "A1": StepState.CANCELLED,
        "A2": StepState.CANCELLED,
        "A3": StepState.SCHEDULED,
        "A4": StepState.SCHEDULED,
    }
    assert "OTHER" in _stations(worklist)
    (folder / "A3.wl").unlink()
    assert _looked(folder, worklist) == states


def test_a_step_that_has_begun_outlives_its_file(folder, worklist):
    _write(folder / "one.wl", "A1")
    _looked(folder, worklist)
    with worklist.begin() as connection:
        worklist.set_state(connection, 1, StepState.STARTED, 1.0)
    (folder / "one.wl").unlink()
    assert _looked(folder, worklist) == {"A1": StepState.STARTED}


def test_a_folder_that_is_not_there_cancels_nothing(folder, worklist, caplog):
    _write(folder / "one.wl", "A1")
    _looked(folder, worklist)
    away = folder.rename(folder.with_name("away"))
    watch = WorklistFolder(folder, worklist, rescan=0.1)
    watch.start()
    try:
        eventually(lambda: "cannot be read" in caplog.text, timeout=20)
        assert "no events" in caplog.text
        assert _states(worklist) == {"A1": StepState.SCHEDULED}
        _write(away / "two.wl", "A2")
        away.rename(folder)
        # Without an event: by the next look.
        eventually(lambda: set(_states(worklist)) == {"A1", "A2"}, timeout=20)
    finally:
        watch.stop()
    assert caplog.text.count("cannot be read") == 1


def test_where_nothing_at_all_is_left_of_several_files_nothing_is_cancelled(folder, worklist, caplog):
    for name in ("A1", "A2"):
        _write(folder / f"{name}.wl", name)
    there = {"A1": StepState.SCHEDULED, "A2": StepState.SCHEDULED}
    assert _looked(folder, worklist) == there
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    watch = WorklistFolder(folder, worklist, rescan=60.0)
    for _ in range(3):
        assert not watch.look()
    assert _states(worklist) == there
    assert caplog.text.count("nothing at all is there, of 2 files before: their items stay") == 1
    folder.rmdir()
    away.rename(folder)
    assert _looked(folder, worklist) == there
    # It is there, and empty.
    (folder / "lockfile").touch()
    (folder / "A1.wl").unlink()
    (folder / "A2.wl").unlink()
    assert set(_looked(folder, worklist).values()) == {StepState.CANCELLED}


def test_the_last_file_that_goes_cancels_its_item(folder, worklist):
    for name in ("A1", "A2"):
        _write(folder / f"{name}.wl", name)
    _looked(folder, worklist)
    (folder / "A1.wl").unlink()
    _looked(folder, worklist)
    (folder / "A2.wl").unlink()
    assert set(_looked(folder, worklist).values()) == {StepState.CANCELLED}


def test_a_file_that_cannot_be_read_is_tried_again_as_it_is(folder, worklist, caplog, monkeypatch):
    _write(folder / "DOE_JANE.wl", "A1")

    def denied(_path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        watch = WorklistFolder(folder, worklist, rescan=60.0)
        watch.look()
        eventually(lambda: not watch.look(), timeout=20)
        watch.look()
    assert _states(worklist) == {}
    shown = _shown(folder / "DOE_JANE.wl")
    assert caplog.text.count(f"{shown} cannot be read: Permission denied") == 1
    watch.look()
    assert _states(worklist) == {"A1": StepState.SCHEDULED}


def test_the_log_names_no_file(folder, worklist, caplog):
    caplog.set_level(logging.DEBUG)
    (folder / "lockfile").touch()
    _write(folder / "DOE_JANE.wl", "A1")
    _write(folder / "DOE_JANE_again.wl", "A1")
    (folder / "DOE_JANE_bad.wl").write_text("no data set")
    _looked(folder, worklist)
    for path in folder.glob("*.wl"):
        path.unlink()
    _looked(folder, worklist)
    assert f"{_shown(folder / 'DOE_JANE.wl')} is gone" in caplog.text
    assert "DOE" not in caplog.text


def test_a_file_brings_a_discontinued_step_back_and_of_a_completed_one_the_log_tells(
    folder, worklist, caplog
):
    for name in ("A1", "A2"):
        _write(folder / f"{name}.wl", name)
    _looked(folder, worklist)
    with worklist.begin() as connection:
        worklist.set_state(connection, 1, StepState.DISCONTINUED, 1.0)
        worklist.set_state(connection, 2, StepState.COMPLETED, 1.0)
    for name in ("A1", "A2"):
        _write(folder / f"{name}.wl", name, station="DX9")
    assert _looked(folder, worklist) == {"A1": StepState.SCHEDULED, "A2": StepState.COMPLETED}
    assert "1 file(s) of completed steps: no query is answered with their items" in caplog.text


def test_a_file_says_in_which_state_its_item_is(folder, worklist, caplog):
    for status in ("ARRIVED", "READY", "SCHEDULED", "STARTED"):
        dataset = worklist_dataset("A1")
        dataset.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus = status
        (folder / "one.wl").write_bytes(part_10(dataset))
        taken = _looked(folder, worklist)
        assert taken == {"A1": "SCHEDULED" if status == "STARTED" else status}
    assert "ScheduledProcedureStepStatus is not one of SCHEDULED, ARRIVED, READY" in caplog.text


def test_files_that_dcmtk_made_are_taken_as_its_own_server_takes_them(folder, worklist, tmp_path):
    station = folder / "STATION"
    station.mkdir()
    (station / "lockfile").touch()
    for number, options in enumerate([[], ["-F"], ["+te"], ["+ti"]]):
        dump = tmp_path / f"{number}.dump"
        dump.write_text(_DUMP.format(accession=f"A{number}"), encoding="latin-1")
        made = dcmtk("dump2dcm", *options, dump, station / f"{number}.wl")
        assert made.returncode == 0, made.stderr
    shutil.copy(station / "0.wl", station / "copy.txt")
    assert set(_looked(folder, worklist)) == {"A0", "A1", "A2", "A3"}
    port = free_port()
    server = subprocess.Popen(["wlmscpfs", "-dfp", str(folder), str(port)])
    try:
        echo = ["echoscu", "-aec", "STATION", "127.0.0.1", port]
        eventually(lambda: dcmtk(*echo).returncode == 0, timeout=20)
        query = ["-k", "(0008,0050)", "-k", "(0040,0100)[0].(0008,0060)=MR"]
        told = dcmtk("findscu", "-W", "-aec", "STATION", *query, "127.0.0.1", port)
    finally:
        server.terminate()
        server.wait(20)
    assert all(f"[A{number}" in told.stdout + told.stderr for number in range(4))
