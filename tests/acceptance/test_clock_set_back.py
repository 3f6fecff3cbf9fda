"""The clock is set back an hour while studies wait: no wait gets longer by that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from committing import CommittingArchive
from peers import (
    Archive,
    Destination,
    Gateway,
    associated,
    c_store,
    deliveries,
    eventually,
    free_port,
    instances,
    of_modality,
    request,
    send,
)
from set_back_gateway import CLOCK, COMMAND
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A sweep, and the longest of the waits.
DEADLINE = 20 + 40


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_nothing_waits_for_the_hour_to_come_again(
    tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch, *, restarted: bool
):
    clock = tmp_path / "set back"
    monkeypatch.setenv(CLOCK, str(clock))
    monkeypatch.setattr(Gateway, "command", COMMAND)
    first, second = new_radiograph(), new_radiograph()
    late = Archive(tmp_path / "late", ae_title="LATE", port=free_port())
    with CommittingArchive(tmp_path / "archive", reports="never", client=("", 0)) as archive:
        gateway = make_gateway(
            Destination(name="archive", ae_title=archive.ae_title, port=archive.port, commitment=True),
            Destination(name="late", ae_title=late.ae_title, port=late.port),
            study={"quiet_period": 20.0, "after_release": 0.3, "longest_wait": 7200.0},
            delivery={"first_retry": 40.0, "longest_retry": 40.0, "probe_every": 3600.0},
            commitment={"gather": 0.3, "wait": 0.0, "report_within": 40.0},
        )
        gateway.start()
        # One waits for a retry and for its commitment, the other for the end of its quiet period.
        assert send([first], gateway.port) == [0]
        eventually(lambda: archive.asked)
        eventually(lambda: [row["attempts"] for row in deliveries(gateway)] == [1] * 4)
        wanted = request(second)
        contexts = [(wanted.sop_class_uid, wanted.transfer_syntax_uid)]
        with associated(gateway.port, contexts) as association:
            assert c_store(association, wanted) == 0
            eventually(lambda: [row["decision"] for row in instances(gateway)] == ["accept"] * 2)
            assert len(archive.instances) == 2  # the second one waits
            if restarted:
                gateway.kill()
            clock.touch()
            if restarted:
                gateway.start()
            with late:
                late.wait_for(
                    lambda held: of_modality(held, first.StudyInstanceUID) == ONE_OF_EACH, timeout=DEADLINE
                )
                early = late.of_study(str(first.StudyInstanceUID))
                archive.wait_for(
                    lambda held: of_modality(held, second.StudyInstanceUID) == ONE_OF_EACH, timeout=DEADLINE
                )
                eventually(lambda: _asked_again(archive), timeout=DEADLINE)
                # By itself, not because the second one found the destination back.
                assert {late.receptions.index(one.sop_instance_uid) for one in early} == {0, 1}
        assert gateway.stop() == 0, gateway.log_tail()
        assert "the clock was set back" in gateway.log.read_text(encoding="utf-8")


def _asked_again(archive: CommittingArchive) -> bool:
    """Whether the objects of the first transaction were named in another one."""
    first, *others = archive.asked
    return any(
        one.objects == first.objects and one.transaction_uid != first.transaction_uid for one in others
    )
