"""The gateway killed (SIGKILL) after it answered an N-SET, before it sent the step on; both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from peers import Gateway, eventually
from performed_steps import StepManager, completion, creation, scheduled
from swift_gateway import COMMAND

from cxr_pacs.dimse import Peer, create_step, set_step

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 60


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_step_that_was_answered_is_sent_on(
    request: pytest.FixtureRequest,
    make_gateway: Callable[..., Gateway],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    manager = StepManager()
    ris = {"name": "ris", "ae_title": manager.ae_title, "host": manager.host, "port": manager.port}
    database = request.getfixturevalue("postgres_server").new_database() if kind == "postgresql" else ""
    gateway = make_gateway(mpps={"serve": True}, mpps_destination=[ris], database={"url": database})
    gateway.start()
    peer = Peer(ae_title=Gateway.ae_title, host=Gateway.host, port=gateway.port)
    create_step("CR1", peer, "1.2.50", creation(scheduled("1.2.3")))
    set_step("CR1", peer, "1.2.50", completion(["1.2.9"]))
    gateway.kill()
    with manager:
        gateway.start()
        eventually(lambda: len(manager.known.kinds("1.2.50")) == 2, timeout=DEADLINE)
        assert gateway.stop() == 0, gateway.log_tail()
    assert manager.known.kinds("1.2.50") == [("N-CREATE", "IN PROGRESS"), ("N-SET", "COMPLETED")]
    assert (
        manager.known.steps["1.2.50"].PerformedSeriesSequence == completion(["1.2.9"]).PerformedSeriesSequence
    )
