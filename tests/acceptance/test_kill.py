"""Kill -9 at random moments while studies arrive: what was answered with success is reported exactly once."""

from __future__ import annotations

import random
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from peers import Archive, Destination, Gateway, associated, c_store, of_modality, request
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peers import Request

_STUDIES = 60
_LIVES = 3


def _answered(gateway: Gateway, requests: list[Request]) -> Iterator[str]:
    """Send one after another; yield each SOP Instance UID answered with success, until the peer is gone."""
    with associated(
        gateway.port, [(r.sop_class_uid, r.transfer_syntax_uid) for r in requests]
    ) as association:
        for wanted in requests:
            try:
                status = c_store(association, wanted)
            except RuntimeError:
                return
            if status is None:
                return
            assert status == 0x0000
            yield wanted.sop_instance_uid


_UNFINISHED = {
    "undecided instances": (
        "SELECT id, sop_instance_uid, received_at FROM instance WHERE decision IS NULL ORDER BY id"
    ),
    "accepted but not reported": (
        "SELECT id, study_id, sop_instance_uid FROM instance "
        "WHERE decision = 'accept' AND NOT reported ORDER BY id"
    ),
    "waiting deliveries": (
        "SELECT id, destination, attempts, next_at, reason FROM delivery WHERE state = 'waiting' ORDER BY id"
    ),
    "workflows": (
        "SELECT name, status, queue_name, count(*) AS workflows FROM workflow_status "
        "GROUP BY name, status, queue_name ORDER BY name, status, queue_name"
    ),
}


def _unfinished(gateway: Gateway) -> str:
    """What the ledger and DBOS say is still to be done; only read."""
    ledger = gateway.settings.folder / "spool" / "ledger.sqlite"
    lines = []
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        for what, query in _UNFINISHED.items():
            rows = [dict(row) for row in connection.execute(query)]
            lines += [f"{what}: {len(rows)}", *(f"  {row}" for row in rows)]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(10**6)])
def test_nothing_answered_is_lost_or_doubled(tmp_path: Path, make_gateway: Callable[..., Gateway], seed: int):
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    radiographs = [new_radiograph() for _ in range(_STUDIES)]
    study_of = {str(r.SOPInstanceUID): str(r.StudyInstanceUID) for r in radiographs}
    requests = [request(radiograph) for radiograph in radiographs]
    answered: list[str] = []
    with Archive(tmp_path / "archive") as archive:
        gateway = make_gateway(Destination(name="archive", ae_title=archive.ae_title, port=archive.port))
        for life in range(_LIVES):
            batch = requests[life::_LIVES]
            moment = chance.randrange(len(batch))
            killer = threading.Timer(chance.uniform(0, 1), gateway.kill)
            gateway.start()
            for sent, uid in enumerate(_answered(gateway, batch)):
                answered.append(uid)
                if sent == moment:
                    killer.start()
            killer.join()
        gateway.start()

        promised = {study_of[uid] for uid in answered}
        assert promised
        try:
            archive.wait_for(
                lambda held: all(of_modality(held, study) >= ONE_OF_EACH for study in promised), timeout=120
            )
        except TimeoutError as error:
            pytest.fail(f"{error}\n{_unfinished(gateway)}\n{gateway.log_tail()}")
        assert gateway.stop() == 0, gateway.log_tail()

        held = archive.instances
        assert {study: of_modality(held, study) for study in promised} == dict.fromkeys(promised, ONE_OF_EACH)
        # The instance on its way when the gateway died may have arrived without an answer.
        strangers = {i.study_instance_uid for i in held} - promised
        assert len(strangers) <= _LIVES
        assert all(of_modality(held, study) == ONE_OF_EACH for study in strangers)
        assert archive.conflicts == []
