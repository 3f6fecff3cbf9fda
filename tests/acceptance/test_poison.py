"""An image that ends the process whenever it is read does not stop the gateway, and no other is blamed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from peers import Archive, Destination, Gateway, GatewayError, eventually, instances, of_modality, send
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND, POISON

from cxr_pacs.gateway.trials import FATAL_TRIALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gateway, "command", COMMAND)


def _decided(gateway: Gateway) -> str | None:
    """What was decided of the second image that came."""
    return next((row["decision"] for row in instances(gateway)[1:2]), None)


@pytest.mark.usefixtures("swift")
def test_an_image_that_ends_the_process_is_held(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    poison = new_radiograph(PatientID=POISON)
    healthy = [new_radiograph() for _ in range(3)]
    with Archive(tmp_path / "archive") as archive:
        gateway = make_gateway(Destination(name="archive", ae_title=archive.ae_title, port=archive.port))
        gateway.start()
        with suppress(RuntimeError, StopIteration):
            send([healthy[0], poison, *healthy[1:]], gateway.port)
        deaths = 0
        while eventually(lambda: gateway.ended or _decided(gateway)) is True:
            deaths += 1
            with suppress(GatewayError):
                gateway.start()
        held = instances(gateway)[1]
        assert (held["decision"], held["rung"]) == ("hold", "failure")
        assert held["reason"] == f"Its analysis ended the process {FATAL_TRIALS} times."
        assert deaths == FATAL_TRIALS

        assert send(healthy, gateway.port) == [0] * 3
        studies = [radiograph.StudyInstanceUID for radiograph in healthy]
        archive.wait_for(
            lambda held: all(of_modality(held, study) >= ONE_OF_EACH for study in studies), timeout=60
        )
        assert gateway.stop() == 0, gateway.log_tail()
        assert [row["decision"] for row in instances(gateway)] == ["accept", "hold", "accept", "accept"]
