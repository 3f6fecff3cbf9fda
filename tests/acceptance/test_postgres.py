"""A receiver and two workers on one PostgreSQL: whoever dies, and whenever, each study is reported once."""

from __future__ import annotations

import random
import re
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from campaign import (
    LIMIT,
    Books,
    Modalities,
    Swift,
    await_fault,
    await_the_end,
    check_archive,
    die_and_return,
    draw_faults,
    settings,
)
from chance import SEED
from peers import Gateway, Orthanc, eventually, free_port, send
from studies import new_radiograph
from swift_gateway import HELD, HOLD, SECONDS

from cxr_pacs.gateway.trials import ANALYSES_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from postgres import PostgresServer


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    known = {"gateway": (Gateway.ae_title, free_port())}
    with Orthanc(tmp_path / "orthanc", modalities=known) as running:
        yield running


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture
def make_process(tmp_path: Path, orthanc: Orthanc, database: str) -> Iterator[Callable[[str], Swift]]:
    """Processes by their role, all on one database and one spool; what still runs in the end is killed."""
    with ExitStack() as stack:
        numbers = iter(range(10))

        def make(role: str) -> Swift:
            folder = tmp_path / f"process{next(numbers)}"
            shared = {"database": {"url": database}, "spool": {"path": str(tmp_path / "spool")}}
            own = settings(folder, free_port(), orthanc, **shared)
            return stack.enter_context(Swift(replace(own, arguments=("--role", role))))

        yield make


def die_at_work(victim: Swift, survivor: Swift, port: int, books: Books, hold: Path) -> list[str]:
    """Kill a worker that has begun something, for good; within a minute the survivor takes that over.

    Returns the studies that kept both at work.
    """
    hold.touch()
    films = [new_radiograph(PatientID=f"{HELD}-{number}") for number in range(2 * ANALYSES_AT_ONCE)]
    assert send(films, port) == [0] * len(films)
    eventually(lambda: books.analysing() == [ANALYSES_AT_ONCE] * 2)
    said = len(survivor.log.read_text(encoding="utf-8"))
    victim.kill()
    hold.unlink()
    taken_over = re.compile(r" is gone: [1-9]\d* workflow\(s\) of it were taken over")
    eventually(lambda: taken_over.search(survivor.log.read_text(encoding="utf-8"), said), timeout=60)
    return [str(film.StudyInstanceUID) for film in films]


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("seed", [SEED])
def test_whoever_dies_each_study_is_reported_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    orthanc: Orthanc,
    make_process: Callable[[str], Swift],
    postgres_server: PostgresServer,
    database: str,
    seed: int,
):
    hold = tmp_path / "hold"
    monkeypatch.setenv(SECONDS, "0")
    monkeypatch.setenv(HOLD, str(hold))
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    receiver, *workers = processes = [make_process(role) for role in ("receiver", "worker", "worker")]
    spool = tmp_path / "spool"
    books = Books(database, spool)
    faults = draw_faults(chance)
    failing = chance.choice(faults[len(faults) // 4 : -1])
    with Modalities(receiver.port, orthanc) as modalities:
        for fault, victim in zip(faults, cycle(workers), strict=False):
            await_fault(fault, modalities, books)
            if fault is failing:
                postgres_server.stop()
                postgres_server.start()
            if fault is faults[-1]:
                processes.remove(victim)
                held = die_at_work(victim, processes[-1], receiver.port, books, hold)
            else:
                die_and_return(victim, fault)
        modalities.finish()
        await_the_end(books, orthanc, lambda: "\n".join(one.log_tail(15) for one in processes))
    assert [one.stop() for one in processes] == [0, 0], processes[1].log_tail()
    studies = [*modalities.studies, *held]
    books.check(studies)
    check_archive(orthanc, studies, spool)
