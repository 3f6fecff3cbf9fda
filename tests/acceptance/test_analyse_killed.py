"""``cxr-pacs analyse`` ended half-way, by kill -9 and by Ctrl-C: the next run does the rest, and none twice.

A process of it that ends takes none of the others along.

``CXR_FILES=2000`` makes the folder that large.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from peers import dciodvfy, eventually
from pydicom import dcmread
from pydicom.uid import generate_uid
from studies import new_radiograph
from swift_command import COMMAND, DEADLY, READS

FILES = int(os.environ.get("CXR_FILES", "100"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many radiographs, two to a study."""
    folder = tmp_path_factory.mktemp("radiographs")
    dataset = new_radiograph()
    for number in range(FILES):
        if number % 2 == 0:
            dataset.StudyInstanceUID = generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / f"{number:05}.dcm")
    return folder


class Run:
    """One process; its reads are noted in a file of its own."""

    def __init__(self, folder: Path, out: Path, number: int, *options: str) -> None:
        self.reads = out.with_name(f"{out.name}-reads-{number}")
        self.reads.touch()
        self._process = subprocess.Popen(
            [*COMMAND, "analyse", str(folder), "--out", str(out), *options],
            env=os.environ | {READS: str(self.reads)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def begun(self) -> list[str]:
        return self.reads.read_text(encoding="utf-8").split()

    @property
    def children(self) -> list[str]:
        """Processes that it began."""
        number = self._process.pid
        return Path(f"/proc/{number}/task/{number}/children").read_text(encoding="ascii").split()

    def end(self, how: int, after: int) -> tuple[int, str]:
        eventually(lambda: len(self.begun()) >= after, every=0.01)
        self._process.send_signal(how)
        return self.wait()

    def interrupt_all(self) -> tuple[int, str]:
        """As a terminal does: its children get the signal, too."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        said, _ = self._process.communicate(timeout=240 + FILES)
        return self._process.returncode, said


def done(out: Path) -> set[str]:
    """The files that the journal holds as done."""
    with sqlite3.connect(out / "journal.sqlite") as database:
        query = "SELECT json_extract(file, '$.name') FROM files WHERE outcome IS NOT NULL"
        found = {name for (name,) in database.execute(query)}
    database.close()
    return found


def check_whole(out: Path) -> None:
    """One heatmap for each image, one report for each study, a row for each file, and nothing half done."""
    names = [path.name for path in out.iterdir()]
    assert not [name for name in names if name.startswith(".")]
    assert sum(name.startswith("OT-") for name in names) == FILES
    assert sum(name.startswith("SR-") for name in names) == FILES // 2
    for kind in ("OT-", "SR-"):
        first = next(path for path in out.iterdir() if path.name.startswith(kind))
        assert not [line for line in dciodvfy(first) if "Error" in line]
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["sop_instance_uid"] for row in rows}) == len(rows) == FILES
    assert all(row["decision"] == "accept" and len(row["objects"].split(";")) == 2 for row in rows)


@pytest.mark.parametrize("spread", [("--jobs", "3"), ("--processes", "2")], ids=["threads", "processes"])
def test_killed_twice_and_once_asked_to_stop(folder: Path, tmp_path: Path, spread: tuple[str, str]):
    out = tmp_path / "out"
    first = Run(folder, out, 1, *spread)
    assert first.end(signal.SIGKILL, FILES // 4)[0] == -signal.SIGKILL
    done_by_first = done(out)
    assert 0 < len(done_by_first) < FILES

    second = Run(folder, out, 2, *spread)
    status, said = second.end(signal.SIGINT, FILES // 4)
    assert status == 130
    assert f"{len(done_by_first):,} of {FILES:,} were done before." in said
    stopped = done(out)
    # What was in flight was finished: all that it began is done, and nothing lies about half written.
    assert stopped == done_by_first | set(second.begun())
    assert done_by_first.isdisjoint(second.begun())
    assert re.search(rf"Stopped: {FILES - len(stopped)} files are left", said.replace(",", ""))
    assert not list(out.glob("*.part")) + list(out.glob(".*"))
    for path in out.glob("OT-*.dcm"):
        dcmread(path)

    third = Run(folder, out, 3, *spread)
    assert third.end(signal.SIGKILL, (FILES - len(stopped)) // 2)[0] == -signal.SIGKILL
    done_by_third = done(out)

    last = Run(folder, out, 4, *spread)
    status, said = last.wait()
    assert status == 0, said
    assert f"{len(done_by_third):,} of {FILES:,} were done before." in said
    assert set(last.begun()) == {str(path) for path in folder.iterdir()} - done_by_third
    assert len(last.begun()) == FILES - len(done_by_third)
    check_whole(out)

    again = Run(folder, out, 5, *spread)
    status, said = again.wait()
    assert (status, again.begun()) == (0, [])
    assert f"{FILES:,} of {FILES:,} were done before." in said


def test_killed_while_it_reports(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = Run(folder, out, 1, "--processes", "2")
    eventually(lambda: len(list(out.glob("SR-*"))) >= FILES // 20, every=0.01, timeout=60 + FILES)
    assert first.end(signal.SIGKILL, FILES)[0] == -signal.SIGKILL
    reported = {path: path.read_bytes() for path in out.glob("SR-*")}
    assert len(reported) < FILES // 2

    second = Run(folder, out, 2, "--processes", "2")
    status, said = second.wait()
    assert (status, second.begun()) == (0, []), said
    assert {path: path.read_bytes() for path in reported} == reported
    check_whole(out)


def test_ctrl_c_while_the_processes_begin(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    run = Run(folder, out, 1, "--processes", "2")
    eventually(lambda: len(run.children) >= 3, every=0.001)  # the first is Python's own
    status, said = run.interrupt_all()
    assert status == 130, said
    assert "Stopped" in said
    assert "Traceback" not in said
    assert len(done(out)) >= 2  # what was in flight is finished, as in any other second
    assert done(out) == set(run.begun())


def test_a_file_that_ends_its_process_is_an_error_and_the_others_are_read(folder: Path, tmp_path: Path):
    some, out = tmp_path / "in", tmp_path / "out"
    some.mkdir()
    paths = sorted(folder.iterdir())[:11]
    for number, path in enumerate(paths):
        (some / (f"{DEADLY}.dcm" if number == 4 else path.name)).symlink_to(path)
    for number in (1, 2):
        run = Run(some, out, number, "--processes", "2")
        status, said = run.wait()
        assert (status, "Traceback" in said) == (1, False), said
        with (out / "results.csv").open(encoding="utf-8", newline="") as file:
            errors = {Path(row["file"]).name: row["error"] for row in csv.DictReader(file)}
        assert errors.pop(f"{DEADLY}.dcm") == (
            "Failed: what read it ended, and ended again when it read nothing else (BrokenProcessPool)."
        )
        assert set(errors.values()) == {""}
        assert len(errors) == 10
        assert [Path(name).name for name in run.begun()].count(f"{DEADLY}.dcm") == 2


def test_where_no_process_can_load_the_model_the_run_ends(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(DEADLY, "1")
    run = Run(folder, tmp_path / "out", 1, "--processes", "2")
    status, said = run.wait()
    assert (status, run.begun()) == (2, [])
    assert said.endswith(
        "cxr-pacs: --processes: a process ends while it loads the model: is there memory for 2 of them?\n"
    )
