"""A receiver and two workers on one PostgreSQL: whoever dies, and whenever, each study is reported once."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from peers import (
    Archive,
    Destination,
    Gateway,
    GatewaySettings,
    associated,
    c_store,
    eventually,
    free_port,
    of_modality,
    request,
)
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from peers import Request
    from postgres import PostgresServer

STUDIES = int(os.environ.get("CXR_STUDIES", "40"))
SENDERS = 4
KILLS = 4
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700


class Swift(Gateway):
    command = COMMAND


@pytest.fixture
def make_process(
    tmp_path: Path, archive: Archive, postgres_server: PostgresServer
) -> Iterator[Callable[[str], Swift]]:
    """Processes by their role, all on one database and one spool; what still runs in the end is killed."""
    made: list[Swift] = []
    url = postgres_server.new_database()

    def make(role: str) -> Swift:
        settings = GatewaySettings(
            folder=tmp_path / f"process{len(made)}",
            port=free_port(),
            destinations=(Destination(name="archive", ae_title=archive.ae_title, port=archive.port),),
            tables={
                "study": {"quiet_period": 0.3},
                "delivery": {"first_retry": 0.2, "longest_retry": 1.0},
                "database": {"url": url},
                "spool": {"path": str(tmp_path / "spool")},
            },
            arguments=("--role", role),
        )
        made.append(Swift(settings))
        return made[-1]

    yield make
    for process in made:
        process.__exit__()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as running:
        yield running


def _send_until_taken(port: int, requests: Sequence[Request], statuses: list[int | None]) -> None:
    """As a modality does: what was not taken is sent again, on a new association."""
    waiting = list(requests)

    def round_() -> bool:
        contexts = [(r.sop_class_uid, r.transfer_syntax_uid) for r in waiting]
        with associated(port, contexts) as association:
            for wanted in list(waiting):
                if not association.is_established:
                    return False
                statuses.append(c_store(association, wanted))
                if statuses[-1] == SUCCESS:
                    waiting.remove(wanted)
        return not waiting

    eventually(round_, timeout=90)


def _unfinished(process: Gateway) -> str:
    """What the ledger and DBOS say is still to be done; only read."""
    engine = sa.create_engine(str(process.settings.tables["database"]["url"]))
    queries = (
        "SELECT id, decision, reported FROM instance WHERE decision IS NULL OR NOT reported",
        "SELECT * FROM delivery WHERE state <> 'delivered'",
        "SELECT workflow_uuid, status, executor_id FROM dbos.workflow_status WHERE status <> 'SUCCESS'",
        "SELECT * FROM executor",
        "SELECT * FROM trial",
    )
    with engine.begin() as connection:
        lines = [str(dict(row._mapping)) for q in queries for row in connection.execute(sa.text(q))]
    engine.dispose()
    return "\n".join(lines)


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(10**6)])
def test_whoever_dies_each_study_is_reported_once(
    archive: Archive, make_process: Callable[[str], Swift], postgres_server: PostgresServer, seed: int
):
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    radiographs = [new_radiograph() for _ in range(STUDIES)]
    studies = [str(r.StudyInstanceUID) for r in radiographs]
    requests = [request(radiograph) for radiograph in radiographs]
    receiver, *workers = (make_process(role) for role in ("receiver", "worker", "worker"))
    for process in (receiver, *workers):
        process.start()

    def reported(count: int) -> None:
        archive.wait_for(lambda held: len({i.study_instance_uid for i in held}) >= count, timeout=120)

    # A killing when so many studies have something in the archive; the database fails in the middle of them.
    moments = sorted(chance.sample(range(1, STUDIES * 3 // 4), KILLS + 1))
    failing = chance.randrange(len(moments))
    statuses: list[int | None] = []
    with ThreadPoolExecutor(SENDERS) as senders:
        sent = [
            senders.submit(_send_until_taken, receiver.port, requests[n::SENDERS], statuses)
            for n in range(SENDERS)
        ]
        turn = 0
        for number, moment in enumerate(moments):
            reported(moment)
            threading.Event().wait(chance.uniform(0, 0.3))  # a random moment, not a condition
            if number == failing:
                postgres_server.stop()
                postgres_server.start()
                continue
            victim = workers[turn % 2]
            turn += 1
            victim.kill()
            if turn < KILLS:  # the last one never comes back
                victim.start()
        for one in sent:
            one.result()

    try:
        archive.wait_for(
            lambda held: all(of_modality(held, study) >= ONE_OF_EACH for study in studies), timeout=180
        )
    except TimeoutError as error:
        logs = "\n".join(process.log_tail(15) for process in (receiver, *workers))
        pytest.fail(f"{error}\n{_unfinished(receiver)}\n{logs}")
    survivor = workers[turn % 2]
    assert [process.stop() for process in (receiver, survivor)] == [0, 0], survivor.log_tail()
    assert [of_modality(archive.instances, study) for study in studies] == [ONE_OF_EACH] * STUDIES
    assert archive.conflicts == []
    assert set(statuses) <= {SUCCESS, OUT_OF_RESOURCES, None}
    assert statuses.count(SUCCESS) == STUDIES
