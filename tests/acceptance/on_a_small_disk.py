"""A disk that is full in the middle of the work; run by `test_full_disk`, where it may mount a small one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from chance import SEED
from peers import Archive, Destination, Gateway, eventually, instances, of_modality, request, send
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND
from watch_process import WATCH, WatchProcess, encoded, header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import FileDataset

_OUT_OF_RESOURCES = 0xA700
_PAGE = 4096
_SIZE = 96 << 20
# A heatmap takes 3 MB.
_PLENTY = 80 << 20
# Only a full disk refuses: it is the disk's own refusal that is looked at.
_WITHOUT_MARKS = {"high_watermark": 1.0, "low_watermark": 1.0}


class _SmallDisk:
    """A new tmpfs on the folder `root`, which is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(root)], check=True)

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def leave(self, free: int) -> None:
        """Put ballast in, or take some out, so that `free` bytes can be written; in pages."""
        with (self.root / "ballast").open("ab") as ballast:
            size = max(0, ballast.tell() + self.free - free)
            ballast.truncate(min(size, ballast.tell()))
            ballast.write(b"x" * (size - ballast.seek(0, os.SEEK_END)))


@pytest.fixture
def disk(tmp_path: Path) -> _SmallDisk:
    return _SmallDisk(tmp_path / "gateway")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as running:
        yield running


@pytest.fixture
def serve(
    disk: _SmallDisk,
    archive: Archive,
    make_gateway: Callable[..., Gateway],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Gateway]:
    monkeypatch.setattr(Gateway, "command", COMMAND)

    def start(**spool: float) -> Gateway:
        assert disk.free > _PLENTY
        destination = Destination(name="archive", ae_title=archive.ae_title, port=archive.port)
        gateway = make_gateway(destination, spool=spool)
        gateway.log = tmp_path / "gateway.log"
        gateway.start()
        return gateway

    return start


def _kept(gateway: Gateway, pattern: str = "originals/*/*") -> set[str]:
    spool = gateway.settings.folder / "spool"
    return {str(path.relative_to(spool)) for path in spool.glob(pattern)}


def _is_whole_or_absent(gateway: Gateway, film: FileDataset) -> bool:
    sent = request(film).data_set
    digest = hashlib.sha256(sent).hexdigest()
    file = gateway.settings.folder / "spool" / "originals" / digest[:2] / f"{digest}.dcm"
    return not file.exists() or file.read_bytes().endswith(sent)


def _workflows(gateway: Gateway) -> set[str]:
    ledger = gateway.settings.folder / "spool" / "ledger.sqlite"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        return {row[0] for row in connection.execute("SELECT DISTINCT status FROM workflow_status")}


def _status(gateway: Gateway) -> tuple[int, bool]:
    """Exit code of ``cxr-pacs status``, and whether it says that new images are refused."""
    command = [sys.executable, "-m", "cxr_pacs", "status", "--json", "--config", str(gateway.config)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)["disk"]["refusing"]


def _wait_for_all(archive: Archive, radiographs: list[FileDataset], gateway: Gateway) -> None:
    """Each study has its report and its heatmap, once, and the ledger says so of each instance."""
    studies = [str(radiograph.StudyInstanceUID) for radiograph in radiographs]
    try:
        archive.wait_for(
            lambda held: all(of_modality(held, study) >= ONE_OF_EACH for study in studies), timeout=120
        )
    except TimeoutError as error:
        said = [(row["id"], row["decision"], row["reported"]) for row in instances(gateway)]
        pytest.fail(f"{error}\n{said}\n{gateway.log_tail()}")
    held = archive.instances
    assert {study: of_modality(held, study) for study in studies} == dict.fromkeys(studies, ONE_OF_EACH)
    assert archive.conflicts == []
    assert {row["decision"] for row in instances(gateway)} == {"accept"}


@pytest.mark.parametrize("seed", [SEED])
def test_a_disk_that_fills_up_in_the_middle(disk, archive, serve, seed):
    gateway = serve(**_WITHOUT_MARKS)
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    # A film takes 29 pages, its rows some ten: full within the file, within the rows, after both, before all.
    within = [chance.randrange(1, 28) for _ in range(6)]
    rooms = [*within, 30, *(chance.randrange(29, 90) for _ in range(8)), 0]
    films = [new_radiograph() for _ in rooms]
    answers = []
    for room, film in zip(rooms, films, strict=True):
        disk.leave(_PAGE * room)
        answers += send([film], gateway.port)
        received = {row["sop_instance_uid"] for row in instances(gateway)}
        assert (film.SOPInstanceUID in received) == (answers[-1] == 0)
        assert _is_whole_or_absent(gateway, film)
        assert not _kept(gateway, "incoming/*/*")
    assert set(answers) <= {0, _OUT_OF_RESOURCES}
    assert answers[:6] == [_OUT_OF_RESOURCES] * 6, gateway.log_tail()
    assert gateway.log.read_text().count("did not take a file: No space left on device") >= len(within)
    assert _status(gateway) == (3, True)

    disk.leave(_PLENTY)
    refused = [film for film, status in zip(films, answers, strict=True) if status]
    # Above the mark until it is looked at again.
    eventually(lambda: send(refused[:1], gateway.port) == [0])
    assert send(refused[1:], gateway.port) == [0] * (len(refused) - 1)
    _wait_for_all(archive, films, gateway)
    assert _kept(gateway) == {row["file"] for row in instances(gateway)}
    eventually(lambda: _workflows(gateway) == {"SUCCESS"})
    assert gateway.stop() == 0, gateway.log_tail()


def test_a_result_that_finds_no_room_is_made_later(disk, archive, serve):
    """Whatever room the analysis finds, between none and enough, it goes on by itself when there is more."""
    gateway = serve(**_WITHOUT_MARKS)
    films = []
    for room in (60, 120, 240, 400, 700):
        disk.leave(_PAGE * room)
        film = new_radiograph()
        films += [film] if send([film], gateway.port) == [0] else []
        # The work fails against the wall, or not: it has its time for both.
        eventually(lambda: "PENDING" not in _workflows(gateway) or disk.free < 16 * _PAGE, timeout=30)
    assert films
    full = "(the spool did not take a file: No space left|OperationalError in )"
    met = re.compile(rf"analysis of instance \d+, attempt \d+: {full}")
    eventually(lambda: met.search(gateway.log.read_text()), timeout=30)
    disk.leave(_PLENTY)
    _wait_for_all(archive, films, gateway)
    assert gateway.stop() == 0, gateway.log_tail()


def test_the_watermarks_of_a_real_disk(disk, archive, serve):
    gateway = serve(high_watermark=0.7, low_watermark=0.5)
    before = new_radiograph()
    assert send([before], gateway.port) == [0]
    _wait_for_all(archive, [before], gateway)

    films = [new_radiograph(), new_radiograph()]
    disk.leave(int(_SIZE * 0.2))
    eventually(lambda: send(films[:1], gateway.port) == [_OUT_OF_RESOURCES])
    disk.leave(int(_SIZE * 0.4))
    assert send(films, gateway.port) == [_OUT_OF_RESOURCES] * 2
    gateway.kill()
    gateway.start()
    assert send(films, gateway.port) == [_OUT_OF_RESOURCES] * 2
    assert len(instances(gateway)) == len(_kept(gateway)) == 1

    disk.leave(int(_SIZE * 0.6))
    eventually(lambda: send(films[:1], gateway.port) == [0])
    assert send(films[1:], gateway.port) == [0]
    _wait_for_all(archive, [before, *films], gateway)
    assert gateway.stop() == 0, gateway.log_tail()


def test_a_folder_of_results_on_a_disk_that_is_full(disk, tmp_path):
    """What a watched folder brings waits for room; nothing half has the name of a whole, the watch lives."""
    source, out = tmp_path / "in", disk.root / "out"
    for folder in (source, out):
        folder.mkdir()
    films = [new_radiograph() for _ in range(4)]
    watch = WATCH.format(out=out, folder=source, notice="events", rescan=1)
    with WatchProcess(tmp_path / "site", source, out, "serve", "--role", "watcher", more=watch) as process:
        process.await_ready()
        disk.leave(0)
        for number, film in enumerate(films):
            (source / str(number)).write_bytes(encoded(film))
        eventually(lambda: "did not take a file: No space left on device" in process.said)
        eventually(lambda: "the tables of out are not written: No space left on device" in process.said)
        eventually(lambda: len(process.received) == len(films))
        disk.leave(12 * _PAGE)  # for a report or two
        eventually(lambda: process.results)
        assert all(header(path).StudyInstanceUID == path.parent.name for path in process.results)
        disk.leave(_PLENTY)
        eventually(lambda: len(process.results) == len(films) * ONE_OF_EACH.total())
        eventually(lambda: len(list(out.glob("*/*.png"))) == len(list(out.glob("*/*.json"))) == len(films))
        eventually(lambda: sum(line["reported"] == "True" for line in process.lines) == len(films))
        assert process.end(signal.SIGTERM) == 0, process.said[-5000:]
    assert [path.name for path in out.rglob(".*")] == []
