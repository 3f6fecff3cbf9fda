"""Destinations that are down, refuse, or are full: retried or parked with the reason, never lost."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from peers import (
    Archive,
    Destination,
    Gateway,
    StubbornArchive,
    deliveries,
    eventually,
    free_port,
    of_modality,
    send,
    told,
)
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom import FileDataset


def _at(name: str, archive: Archive, *, title: str | None = None) -> Destination:
    return Destination(name=name, ae_title=title or archive.ae_title, port=archive.port)


def _states(gateway: Gateway, destination: str) -> set[str]:
    return {row["state"] for row in deliveries(gateway) if row["destination"] == destination}


def _reasons(gateway: Gateway, destination: str) -> set[str]:
    return {row["reason"] for row in deliveries(gateway) if row["destination"] == destination}


def _attempts(gateway: Gateway, destination: str) -> int:
    return min((r["attempts"] for r in deliveries(gateway) if r["destination"] == destination), default=0)


def _complete(archive: Archive, radiograph: FileDataset) -> None:
    study = radiograph.StudyInstanceUID
    archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    assert of_modality(archive.instances, study) == ONE_OF_EACH


def test_down_is_retried_and_survives_a_restart(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    radiograph = new_radiograph()
    late = Archive(tmp_path / "late", ae_title="LATE", port=free_port())
    with Archive(tmp_path / "up") as up:
        gateway = make_gateway(_at("up", up), _at("late", late))
        gateway.start()
        assert send([radiograph], gateway.port) == [0]
        _complete(up, radiograph)
        eventually(lambda: _attempts(gateway, "late") >= 2)
        assert _states(gateway, "late") == {"waiting"}
        assert all("could not be reached" in reason for reason in _reasons(gateway, "late"))
        assert gateway.stop() == 0, gateway.log_tail()

        gateway.start()
        with late:
            _complete(late, radiograph)
            eventually(lambda: _states(gateway, "late") == {"delivered"})
            assert gateway.stop() == 0, gateway.log_tail()
        assert up.receptions == list(dict.fromkeys(up.receptions))


def test_refusals_are_parked_with_their_reason(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    radiograph = new_radiograph()
    echo_only = AE(ae_title="ECHOONLY")
    echo_only.add_supported_context(Verification)
    with ExitStack() as stack:
        up = stack.enter_context(Archive(tmp_path / "up"))
        strict = stack.enter_context(StubbornArchive(tmp_path / "strict", ae_title="STRICT", status=0xA900))
        full = stack.enter_context(StubbornArchive(tmp_path / "full", ae_title="FULL", status=0xA700))
        server = echo_only.start_server(("127.0.0.1", 0), block=False)
        stack.callback(echo_only.shutdown)
        gateway = make_gateway(
            _at("up", up),
            _at("strict", strict),
            _at("full", full),
            _at("mistitled", up, title="NOBODY"),
            Destination(name="echo-only", ae_title="ECHOONLY", port=server.socket.getsockname()[1]),
        )
        stack.enter_context(gateway)
        assert send([radiograph], gateway.port) == [0]
        _complete(up, radiograph)

        for name, reason in (("strict", "A900"), ("echo-only", "no presentation context")):
            eventually(lambda name=name: _states(gateway, name) == {"parked"})
            assert all(reason in said for said in _reasons(gateway, name))

        for name, reason in (("full", "A700"), ("mistitled", "Called AE title not recognised")):
            eventually(lambda name=name: _attempts(gateway, name) >= 2)
            assert all(reason in said for said in _reasons(gateway, name))
            assert _states(gateway, name) == {"waiting"}
        full.status = 0
        _complete(full, radiograph)
        eventually(lambda: _states(gateway, "full") == {"delivered"})
        assert strict.instances == ()
        assert gateway.stop() == 0, gateway.log_tail()


def test_given_up_after_the_time_that_the_site_set(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    gateway = make_gateway(
        Destination(name="nowhere", ae_title="NOWHERE", port=free_port()),
        delivery={"first_retry": 0.1, "longest_retry": 0.1, "give_up_after": 0.5},
    )
    with gateway:
        assert send([new_radiograph()], gateway.port) == [0]
        eventually(lambda: _states(gateway, "nowhere") == {"parked"})
        assert all("given up" in said and "reached" in said for said in _reasons(gateway, "nowhere"))
        assert gateway.stop() == 0, gateway.log_tail()


def _retry(gateway: Gateway, *arguments: str) -> str:
    return told(gateway, "retry", *arguments)


@pytest.mark.parametrize("running", [True, False])
def test_what_is_parked_is_sent_again_on_request(
    tmp_path: Path, make_gateway: Callable[..., Gateway], *, running: bool
):
    first, second = new_radiograph(), new_radiograph()
    with StubbornArchive(tmp_path / "strict", ae_title="STRICT", status=0xA900) as strict:
        gateway = make_gateway(_at("strict", strict))
        with gateway:
            assert send([first, second], gateway.port) == [0, 0]
            eventually(lambda: [row["state"] for row in deliveries(gateway)] == ["parked"] * 4)
            if not running:
                assert gateway.stop() == 0, gateway.log_tail()
            strict.status = 0
            assert _retry(gateway, "--destination", "strickt") == (
                "1: cxr-pacs: no destination of the settings is called strickt"
            )
            assert _retry(gateway, str(first.StudyInstanceUID)) == "0: 2 parked object(s) are sent again"
            assert _retry(gateway, str(first.StudyInstanceUID)) == "0: 0 parked object(s) are sent again"
            if not running:
                gateway.start()
            _complete(strict, first)
            eventually(
                lambda: Counter(row["state"] for row in deliveries(gateway)) == {"delivered": 2, "parked": 2}
            )
            assert _retry(gateway, "--destination", "strict") == "0: 2 parked object(s) are sent again"
            _complete(strict, second)
            eventually(lambda: _states(gateway, "strict") == {"delivered"})
            assert gateway.stop() == 0, gateway.log_tail()
        assert strict.receptions == list(dict.fromkeys(strict.receptions))


def test_a_retry_begins_its_back_off_anew(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    with StubbornArchive(tmp_path / "full", ae_title="FULL", status=0xA700) as full:
        gateway = make_gateway(
            _at("full", full), delivery={"first_retry": 0.2, "longest_retry": 600.0, "give_up_after": 600.0}
        )
        with gateway:
            assert send([new_radiograph()], gateway.port) == [0]
            eventually(lambda: _attempts(gateway, "full") >= 3)
            full.status = 0xA900
            eventually(lambda: _states(gateway, "full") == {"parked"})
            attempts = min(row["attempts"] for row in deliveries(gateway))
            assert attempts >= 4
            full.status = 0xA700
            assert _retry(gateway) == "0: 2 parked object(s) are sent again"
            eventually(lambda: 1 <= _attempts(gateway, "full") < attempts)
            assert gateway.stop() == 0, gateway.log_tail()


def test_what_is_dismissed_needs_nobody_any_more(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    radiograph = new_radiograph()
    with StubbornArchive(tmp_path / "strict", ae_title="STRICT", status=0xA900) as strict:
        gateway = make_gateway(_at("strict", strict))
        with gateway:
            assert send([radiograph], gateway.port) == [0]
            eventually(lambda: [row["state"] for row in deliveries(gateway)] == ["parked"] * 2)
            study = str(radiograph.StudyInstanceUID)
            listed = told(gateway, "dismiss", study)
            these = "2 parked object(s), 0 held or unreported instance(s) and 0 failed commitment(s)"
            assert listed.endswith(f"{these} would be dismissed with --yes")
            assert listed.count("status A900") == 2
            assert _states(gateway, "strict") == {"parked"}
            done = told(gateway, "dismiss", "--yes")
            assert done.endswith(f"{these} were dismissed")
            assert _states(gateway, "strict") == {"dismissed"}
            assert _retry(gateway) == "0: 0 parked object(s) are sent again"
            why = told(gateway, "why", study)
            assert why.startswith("0: ")
            assert (
                why.count("was dismissed by an administrator. It had been parked after 1 attempt(s): ") == 2
            )
            assert why.endswith("2 of 2 deliveries were dismissed, the others taken.")
            assert told(gateway, "status").startswith("0: ")
            assert gateway.stop() == 0, gateway.log_tail()
