"""What nobody foresaw: the instance is held with a reason, the study goes on, and no identity is written."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from dbos._sys_db import SystemDatabase
from peers import eventually, send
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, modalities, table

from cxr_pacs.errors import EvidenceError
from cxr_pacs.gateway.ledger import Ledger, open_ledger
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import SpoolSettings

IDENTITY = "Sensitive^Name"


class FailingEngine(BrightEngine):
    """Fails on a dark picture, as often as it is told to, quoting the patient."""

    def __init__(self, failures):
        self.failures = failures

    def analyse(self, image):
        if image.mean() < 0.02 and self.failures:
            self.failures -= 1
            raise RuntimeError(f"cannot read {IDENTITY}")
        return super().analyse(image)


@pytest.fixture
def run(make_settings, archive):
    gateways = []

    def start(engine):
        settings = make_settings(archive)
        gateway = Gateway(settings, engine)
        gateway.start()
        gateways.append(gateway)
        return settings

    yield start
    for gateway in gateways:
        gateway.stop()


def dark_and_bright():
    dark = make_radiograph(picture=synthetic_chest(150, 130, 0) * 0.01, PatientName=IDENTITY)
    bright = make_radiograph(picture=synthetic_chest(150, 130, 1), PatientName=IDENTITY)
    bright.StudyInstanceUID = dark.StudyInstanceUID
    return dark, bright


def test_a_failure_that_passes_is_tried_again(run, archive):
    settings = run(FailingEngine(2))
    assert send(dark_and_bright(), settings.dicom.port) == [0x0000, 0x0000]
    archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert [row["decision"] for row in table(settings, "instance")] == ["accept", "accept"]


def test_a_failure_that_stays_holds_the_instance_and_reports_the_rest(run, archive, caplog):
    settings = run(FailingEngine(100))
    send(dark_and_bright(), settings.dicom.port)
    archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    assert modalities(archive) == {"SR": 1, "OT": 1}
    held, accepted = table(settings, "instance")
    assert (held["decision"], held["rung"], accepted["decision"]) == ("hold", "failure", "accept")
    assert "RuntimeError in analyse" in held["reason"]
    ledger = (settings.spool.path / "ledger.sqlite").read_bytes()
    assert IDENTITY not in caplog.text
    assert IDENTITY.encode() not in ledger


def test_what_died_before_it_was_recorded_is_made_anew(make_settings, archive, tmp_path):
    """Its file may be of other content that came under the same UID, and was given up."""
    image = make_radiograph(picture=synthetic_chest(150, 130, 0))
    elsewhere = make_settings().model_copy(update={"spool": SpoolSettings(path=tmp_path / "elsewhere")})
    settings = make_settings(archive)
    for one, objects in ((elsewhere, 0), (settings, 2)):
        gateway = Gateway(one, BrightEngine())
        gateway.start()
        try:
            assert send([image], one.dicom.port) == [0]
            eventually(lambda one=one: len(table(one, "result")) == 2, timeout=DEADLINE)
            archive.wait_for(lambda held, objects=objects: len(held) == objects, timeout=DEADLINE)
        finally:
            gateway.stop()
        for row in table(elsewhere, "result"):
            if one is elsewhere:
                Spool(settings.spool.path).keep_result(row["sop_instance_uid"], b"of somebody else")
    assert [row["state"] for row in table(settings, "delivery")] == ["delivered"] * 2


def test_a_report_that_cannot_be_built_is_the_studys_problem(run, archive, monkeypatch):
    def refuse(*_):
        raise EvidenceError("no such code")

    monkeypatch.setattr("cxr_pacs.evidence.report", refuse)
    settings = run(BrightEngine())
    send(dark_and_bright()[1:], settings.dicom.port)
    eventually(lambda: table(settings, "study")[0]["problem"] == "no such code")
    assert archive.instances == ()


def test_work_whose_workflow_ended_too_early_is_taken_up(run, archive, make_settings, monkeypatch):
    """A disk that is full for the ledger as well: nothing can be written down, not even the failure."""

    def full(*_, **__):
        raise sa.exc.OperationalError("commit", {}, OSError("no space"))

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "decide", full)
        broken.setattr("cxr_pacs.gateway.workflow.backoff", full)
        settings = make_settings(archive)
        gateway = Gateway(settings, BrightEngine())
        gateway.start()
        send(dark_and_bright()[1:], settings.dicom.port)
        eventually(lambda: workflow_states(settings)["analyse:1:1"] == "ERROR")
        gateway.stop()
    assert table(settings, "instance")[0]["decision"] is None
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    gateway.stop()


def test_a_workflow_whose_end_cannot_be_recorded_is_begun_again(run, archive, monkeypatch):
    """No database, of all moments: neither the failure nor its end can be written down."""
    monkeypatch.setattr("cxr_pacs.gateway.sweep.SWEEP_SECONDS", 0.3)
    told = threading.Event()

    def lost(*_, **__):
        raise sa.exc.OperationalError("commit", {}, OSError("no database"))

    def unrecorded(*_, **__):
        told.set()
        lost()

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "decide", lost)
        broken.setattr("cxr_pacs.gateway.workflow.backoff", lost)
        broken.setattr(SystemDatabase, "update_workflow_outcome", unrecorded)
        settings = run(BrightEngine())
        send(dark_and_bright()[1:], settings.dicom.port)
        assert told.wait(DEADLINE)
    archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


def workflow_states(settings):
    engine = open_ledger(settings.database_url).engine
    with engine.begin() as connection:
        rows = connection.execute(sa.text("SELECT workflow_uuid, status FROM workflow_status"))
        states = defaultdict(str, {row[0]: row[1] for row in rows})
    engine.dispose()
    return states
