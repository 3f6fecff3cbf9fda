"""A watched folder as a process: killed again and again while files come; by events and by polling.

``CXR_FILES`` sets how many films come, ``CXR_KILLS`` how often it is killed, ``CXR_SEED`` when.
"""

from __future__ import annotations

import io
import os
import random
import signal
import statistics
import sys
import threading
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest
from campaign import Books
from chance import SEED
from peers import eventually
from pydicom import dcmread
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import SECONDS
from watch_process import WATCH, WatchProcess, encoded, header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


FILES = int(os.environ.get("CXR_FILES", "90"))
KILLS = int(os.environ.get("CXR_KILLS", "4"))
WRITERS = 3
# Seconds within which a film is taken in on a busy machine; by events before the next look over the folder.
LATEST = 30.0
# Seconds after which what does not come will not come.
PATIENCE = 120.0 + FILES


class Writers:
    """Three who copy films into a folder with pauses: in pieces, renamed, moved, twice, and half a one."""

    def __init__(self, folder: Path, many: int, chance: random.Random) -> None:
        self.studies: list[str] = []
        self.damaged: list[Path] = []
        self._many = many
        self._folder = folder
        self._lock = threading.Lock()
        self._seeds = [chance.random() for _ in range(WRITERS)]

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(WRITERS)
        self._writing = [self._pool.submit(self._write, number) for number in range(WRITERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    @property
    def written(self) -> int:
        return len(self.studies)

    def finish(self) -> None:
        for one in self._writing:
            one.result()

    def _write(self, number: int) -> None:
        chance = random.Random(self._seeds[number])  # noqa: S311  the seed is in the test's name
        ways = (self._in_pieces, self._renamed, self._moved, self._copied, self._cut_off)
        for serial in range(len(range(number, self._many, WRITERS))):
            film = new_radiograph()
            path = self._folder / f"w{number}" / f"{serial // 50}" / f"IM{serial}"
            path.parent.mkdir(parents=True, exist_ok=True)
            chance.choice(ways)(path, encoded(film), chance)
            with self._lock:
                self.studies.append(str(film.StudyInstanceUID))
            threading.Event().wait(chance.uniform(0, 0.2))  # as people and networks do

    def _in_pieces(self, path: Path, content: bytes, chance: random.Random) -> None:
        """Close the file between two pieces, and wait longer than the watch does."""
        cut = chance.randrange(len(content))
        path.write_bytes(content[:cut])
        if chance.random() < 0.1:
            threading.Event().wait(2.5)
        with path.open("ab") as file:
            file.write(content[cut:])

    def _renamed(self, path: Path, content: bytes, chance: random.Random) -> None:
        partial = path.with_name(f"{path.name}.part")
        partial.write_bytes(content)
        threading.Event().wait(chance.uniform(0, 0.1))
        partial.rename(path)

    def _moved(self, path: Path, content: bytes, chance: random.Random) -> None:
        path.write_bytes(content)
        threading.Event().wait(chance.choice((0.0, 0.5, 3.0)) if chance.random() < 0.2 else 0.0)
        with suppress(FileNotFoundError):  # it is done
            path.rename(path.with_name(f"{path.name}.dcm"))

    def _copied(self, path: Path, content: bytes, chance: random.Random) -> None:
        path.write_bytes(content)
        path.with_name(f"copy of {path.name} {chance.randrange(9)}").write_bytes(content)

    def _cut_off(self, path: Path, content: bytes, chance: random.Random) -> None:
        """Leave half a file beside the whole one for good."""
        path.write_bytes(content)
        half = path.with_name(f"{path.name} half")
        half.write_bytes(content[: chance.randrange(len(content))])
        with self._lock:
            self.damaged.append(half)


def _kill_at_random(process: WatchProcess, writers: Writers, many: int, chance: random.Random) -> None:
    for moment in sorted(chance.sample(range(many), KILLS)):
        eventually(lambda moment=moment: writers.written >= moment, timeout=PATIENCE)
        if chance.random() < 0.7:
            process.await_ready()
            threading.Event().wait(chance.uniform(0, 1.5))  # a random moment, not a condition
        process.end(signal.SIGKILL)
        process.start()


@pytest.mark.timeout(3 * PATIENCE)
@pytest.mark.parametrize("seed", [SEED])
@pytest.mark.parametrize(("many", "option"), [(FILES, ()), (FILES // 3, ("--move",))], ids=["stay", "move"])
def test_each_file_is_reported_once_though_the_watch_is_killed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    option: Sequence[str],
    seed: int,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv(SECONDS, "0")
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    source = tmp_path / "in"
    source.mkdir()
    began = time.monotonic()
    with (
        WatchProcess(
            tmp_path, source, tmp_path / "out", "watch", source, "--out", tmp_path / "out", *option
        ) as process,
        Writers(source, many, chance) as writers,
    ):
        books = Books(f"sqlite:///file:{process.spool / 'ledger.sqlite'}?mode=ro&uri=true", process.spool)
        _kill_at_random(process, writers, many, chance)
        writers.finish()
        before = _content(source)
        wanted = many * ONE_OF_EACH.total()
        try:
            eventually(lambda: len(process.results) >= wanted, timeout=PATIENCE, every=0.5)
            eventually(lambda: len(process.lines) == many, timeout=PATIENCE)
            eventually(lambda: not books.unfinished(), timeout=PATIENCE)
            if option:
                eventually(lambda: _whole(source, writers.damaged) == [], timeout=PATIENCE)
            eventually(lambda: _are_told(process, writers.damaged), timeout=PATIENCE)
        except TimeoutError as error:
            pytest.fail(f"{error}\n{books.unfinished()}\n{process.said[-5000:]}")
        seconds = time.monotonic() - began
        assert process.end(signal.SIGTERM) == 0, process.said[-5000:]
    books.check(writers.studies)
    made = Counter((str(d.StudyInstanceUID), d.Modality) for d in map(header, process.results))
    assert made == {(study, kind): many for study in writers.studies for kind, many in ONE_OF_EACH.items()}
    assert sorted(line["study_instance_uid"] for line in process.lines) == sorted(writers.studies)
    assert {line["reported"] for line in process.lines} == {"True"}
    assert len(list(process.out.glob("*/study.json"))) == many
    if option:
        done = [path for path in (source / "done").rglob("*") if path.is_file()]
        assert {str(header(path).StudyInstanceUID) for path in done} == set(writers.studies)
    else:
        assert _content(source) == before
        assert {process.became(path) for path in _whole(source, writers.damaged)} == {("taken", None)}
    with capsys.disabled():
        sys.stdout.write(f"\n{many} films, {KILLS} kills: {seconds:.0f} s, {many / seconds:.1f} a second\n")


def _whole(source: Path, damaged: Sequence[Path]) -> list[Path]:
    """The films that lie where they were copied to."""
    away = (source / "done", source / "failed")
    found = (path for path in source.rglob("*") if path.is_file() and path not in damaged)
    return [path for path in found if not any(map(path.is_relative_to, away))]


def _are_told(process: WatchProcess, damaged: Sequence[Path]) -> bool:
    """Whether of each half film it is known that it is none, or its reason lies beside it."""
    for path in damaged:
        state, reason = process.became(path) or ("", None)
        moved = process.source / "failed" / path.relative_to(process.source)
        if not (state in {"failed", "refused"} and reason) and not moved.is_file():
            return False
    return True


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def _drop(process: WatchProcess, films: Sequence[bytes], chance: random.Random) -> Iterator[float]:
    """Copy films in, one renamed and one packed; when the last byte of each was there."""
    (process.source / "half").write_bytes(films[0][:-1])
    (process.source / "notes").write_text("Doe, John")
    for number, film in enumerate(films):
        path = process.source / f"film {number}"
        if number == 1:
            path.with_suffix(".part").write_bytes(film)
            path.with_suffix(".part").rename(path)
        elif number == 2:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("film", film)
        else:
            path.write_bytes(film)
        yield time.time()
        threading.Event().wait(chance.uniform(0.1, 0.4))


def _watched(folder: Path, notice: str, rescan: float, films: Sequence[bytes]) -> tuple[WatchProcess, str]:
    """Watch a folder by `notice`; the process, and how long each film took from its last byte."""
    source = folder / "in"
    source.mkdir(parents=True)
    watch = WATCH.format(out=folder / "out", folder=source, notice=notice, rescan=rescan)
    with WatchProcess(folder, source, folder / "out", "serve", "--role", "watcher", more=watch) as process:
        process.await_ready()
        studies = [str(dcmread(io.BytesIO(film), stop_before_pixels=True).StudyInstanceUID) for film in films]
        copied = list(_drop(process, films, random.Random(SEED)))  # noqa: S311
        eventually(lambda: len(process.results) == len(films) * ONE_OF_EACH.total())
        eventually(lambda: len(process.lines) == len(films))
        eventually(lambda: all(line["reported"] == "True" for line in process.lines))
        eventually(lambda: all(map(process.became, source.iterdir())))
        assert process.end(signal.SIGTERM) == 0, process.said[-5000:]
    reported = {p.parent.name: p.stat().st_mtime for p in process.results if header(p).Modality == "SR"}
    taken_in = [process.received[study] - at for study, at in zip(studies, copied, strict=True)]
    in_all = [reported[study] - at for study, at in zip(studies, copied, strict=True)]
    assert max(taken_in) < LATEST
    told = ", ".join(
        f"{what} median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s"
        for what, seconds in (("taken in", taken_in), ("reported", in_all))
    )
    return process, f"by {notice}, looked over each {rescan:g} s: {told}"


def test_events_and_polling_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(SECONDS, "0")
    films = [encoded(new_radiograph()) for _ in range(7)]
    by_events, events = _watched(tmp_path / "events", "events", 60.0, films)
    by_polling, polling = _watched(tmp_path / "polling", "polling", 1.0, films)
    assert {path.relative_to(by_events.out) for path in by_events.results} == {
        path.relative_to(by_polling.out) for path in by_polling.results
    }

    def outcomes(process):
        lines = ({**line, "received_at": ""} for line in process.lines)
        return sorted(lines, key=lambda line: line["sop_instance_uid"])

    assert outcomes(by_events) == outcomes(by_polling)

    def files(process):
        return {path.name: process.became(path) for path in process.source.iterdir()}

    assert files(by_events) == files(by_polling)
    assert Counter(state for state, _ in files(by_events).values()) == {
        "taken": len(films),
        "failed": 1,
        "refused": 1,
    }
    with capsys.disabled():
        sys.stdout.write(f"\nfrom the last byte, stable for 0.5 s, quiet for 0.3 s:\n{events}\n{polling}\n")
