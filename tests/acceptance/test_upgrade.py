"""An upgrade with studies at every stage: new version, new settings, and each study is reported once."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from peers import (
    Archive,
    Destination,
    Gateway,
    deliveries,
    eventually,
    free_port,
    instances,
    of_modality,
    send,
    told,
    workflows,
)
from pydicom import dcmread
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND, HELD, HOLD, SECONDS, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom import FileDataset

STUDIES = int(os.environ.get("CXR_STUDIES", "50"))
SLOW_ROOM = "SLOW_ROOM"
LONG = 3600.0
OLD, NEW = "7.0.0", "7.1.0"


def _study_uids(radiographs: list[FileDataset]) -> list[str]:
    return [str(radiograph.StudyInstanceUID) for radiograph in radiographs]


def _at(name: str, archive: Archive) -> Destination:
    return Destination(name=name, ae_title=archive.ae_title, port=archive.port)


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_whatever_was_on_its_way_is_reported_once(
    tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    hold = tmp_path / "hold"
    hold.touch()
    for name, value in ((HOLD, str(hold)), (SECONDS, "0"), (VERSION, OLD)):
        monkeypatch.setenv(name, value)
    third = STUDIES // 3
    sent = [new_radiograph() for _ in range(third)]
    quiet = [new_radiograph() for _ in range(third)]
    held = [new_radiograph(PatientID=f"{HELD}-{n}") for n in range(STUDIES - 2 * third)]
    late = Archive(tmp_path / "late", ae_title="LATE", port=free_port())
    removed = Archive(tmp_path / "removed", ae_title="REMOVED", port=free_port())
    with Archive(tmp_path / "up", ae_title="UP") as up, Archive(tmp_path / "new", ae_title="NEW") as new:
        old_gateway = make_gateway(
            _at("up", up),
            _at("late", late),
            _at("removed", removed),
            study={
                "quiet_period": 0.3,
                f"quiet_period_of.{SLOW_ROOM}": LONG,
                "after_release": LONG,
                "longest_wait": LONG,
            },
            # What failed once would stay until long after the test.
            delivery={"first_retry": LONG, "longest_retry": LONG},
        )
        old_gateway.start()

        # Some wait for delivery, some for the end of the quiet period, two are being analysed, some not yet.
        assert send(sent, old_gateway.port) == [0] * len(sent)
        up.wait_for(lambda stored: len(stored) == 2 * len(sent), timeout=240)
        eventually(lambda: all(row["attempts"] for row in deliveries(old_gateway)), timeout=120)
        assert send(quiet, old_gateway.port, calling=SLOW_ROOM) == [0] * len(quiet)
        eventually(lambda: [row["decision"] for row in instances(old_gateway)].count("accept") == 2 * third)
        assert send(held, old_gateway.port) == [0] * len(held)
        assert Counter((row["decision"], row["reported"]) for row in instances(old_gateway)) == {
            ("accept", 1): len(sent),
            ("accept", 0): len(quiet),
            (None, 0): len(held),
        }
        states = Counter((row["destination"], row["state"]) for row in deliveries(old_gateway))
        assert states == {
            ("up", "delivered"): 2 * len(sent),
            ("late", "waiting"): 2 * len(sent),
            ("removed", "waiting"): 2 * len(sent),
        }
        if end == "killed":
            old_gateway.kill()
            hold.unlink()
        else:
            hold.unlink()
            assert old_gateway.stop() == 0, old_gateway.log_tail()

        monkeypatch.setenv(VERSION, NEW)
        gateway = Gateway(
            replace(
                old_gateway.settings,
                destinations=(_at("up", up), _at("late", late), _at("new", new)),
                tables={
                    "study": {"quiet_period": 0.2},
                    "evidence": {"language": "es"},
                    "delivery": {"first_retry": 0.2, "longest_retry": 1.0},
                },
            )
        )
        every = _study_uids(sent + quiet + held)
        with late, gateway:
            for archive in (up, late):
                archive.wait_for(
                    lambda stored: all(of_modality(stored, study) >= ONE_OF_EACH for study in every),
                    timeout=240,
                )
            eventually(lambda: {row["state"] for row in deliveries(gateway)} == {"delivered", "parked"})

            # What waits for a destination that is gone does not wait in silence.
            gone = [row for row in deliveries(gateway) if row["destination"] == "removed"]
            assert {(row["state"], row["reason"]) for row in gone} == {
                ("parked", "removed is no longer in the settings")
            }
            status = told(gateway, "status")
            assert status.startswith("3: ")
            stands = (
                rf"removed +it is no longer in the settings\n +0 delivered, 0 waiting, {len(gone)} parked"
            )
            assert re.search(stands, status), status
            why = told(gateway, "why", every[0])
            reason = "removed is no longer in the settings"
            assert re.search(rf"The report for removed was parked after \d+ attempt\(s\): {reason}", why), why
            assert told(gateway, "dismiss", "--destination", "removed", "--yes").startswith("0: ")
            assert told(gateway, "why", every[0]).startswith("0: ")
            assert told(gateway, "status").startswith("0: ")
            eventually(lambda: {row["status"] for row in workflows(gateway)} == {"SUCCESS"})
            assert gateway.stop() == 0, gateway.log_tail()

        for archive in (up, late):
            stored = archive.instances
            assert {study: of_modality(stored, study) for study in every} == dict.fromkeys(every, ONE_OF_EACH)
            assert archive.conflicts == []
        versions = {
            study: {i.modality: _version(i.path) for i in late.instances if i.study_instance_uid == study}
            for study in every
        }
        for study in _study_uids(sent):
            assert versions[study] == {"SR": OLD, "OT": OLD}
        for study in _study_uids(quiet):
            assert versions[study] == {"SR": NEW, "OT": OLD}
        if end == "killed":
            for study in _study_uids(held):
                assert versions[study] == {"SR": NEW, "OT": NEW}
        # A destination that came with the new settings gets what was reported under them.
        reported_since = {study for study in every if versions[study]["SR"] == NEW}
        assert {i.study_instance_uid for i in new.instances} == reported_since


def _version(path: Path) -> str:
    """Version of the gateway that made an object."""
    return next(v for v in dcmread(path, stop_before_pixels=True).SoftwareVersions if v in {OLD, NEW})
