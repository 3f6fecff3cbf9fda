"""What peers are told: performed procedure steps sent on, and the availability of results; real sockets."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout

import pytest
import sqlalchemy as sa
from peers import eventually, send
from performed_steps import AvailabilityManager, StepManager, completion, creation, scheduled
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, table

from cxr_pacs.cli import main
from cxr_pacs.database import one_at_a_time
from cxr_pacs.dimse import create_step, set_step
from cxr_pacs.gateway import messages
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.tables import announced, delivery, message
from cxr_pacs.settings import Settings

UID = "1.2.50"
WHOLE = [("N-CREATE", "IN PROGRESS"), ("N-SET", ""), ("N-SET", "COMPLETED")]


@pytest.fixture
def forwarding(make_settings):
    """Settings that send steps on to managers."""

    def make(*managers, names=("ris", "second")):
        peers = [
            {"name": name, "ae_title": one.ae_title, "host": one.host, "port": one.port}
            for name, one in zip(names, managers, strict=False)
        ]
        return Settings.model_validate(
            make_settings().model_dump() | {"mpps": {"serve": True}, "mpps_destination": peers}
        )

    return make


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Run a command over the settings, in the process of the gateway."""
    monkeypatch.setattr("cxr_pacs.cli._configure_logging", lambda: None)

    def run(settings, *arguments):
        config = tmp_path / "site.toml"
        lines = [f'[spool]\npath = "{settings.spool.path}"', f'[database]\nurl = "{settings.database.url}"']
        lines += ["[mpps]", f"serve = {str(settings.mpps.serve).lower()}"]
        for one in settings.mpps_destination:
            lines += ["[[mpps_destination]]", f'name = "{one.name}"', f'ae_title = "{one.ae_title}"']
            lines += [f'host = "{one.host}"', f"port = {one.port}"]
        for one in settings.destination:
            lines += ["[[destination]]", f'name = "{one.name}"', f'ae_title = "{one.ae_title}"']
            lines += [f'host = "{one.host}"', f"port = {one.port}"]
            if one.notify:
                peer = f'ae_title = "{one.notify.ae_title}", host = "127.0.0.1", port = {one.notify.port}'
                lines.append(f"notify = {{ {peer} }}")
        config.write_text("\n".join(lines) + "\n")
        with redirect_stdout(io.StringIO()) as out:
            status = main([*map(str, arguments), "--config", str(config)])
        return status, out.getvalue()

    return run


def states(settings):
    return [row["state"] for row in table(settings, "message")]


def perform(gateway, study="1.2.3"):
    """A step from beginning to end, in three operations."""
    create_step("CR1", gateway, UID, creation(scheduled(study)))
    said = completion(["1.2.9"])
    for keyword in ("PerformedProcedureStepStatus", "PerformedSeriesSequence"):
        del said[keyword]
    set_step("CR1", gateway, UID, said)
    set_step("CR1", gateway, UID, completion(["1.2.9", "1.2.10"]))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_steps_are_sent_on_in_their_order(forwarding, serving):
    with StepManager() as first, StepManager() as second:
        settings = forwarding(first, second)
        with serving(settings) as gateway:
            perform(gateway)
            eventually(lambda: states(settings) == ["delivered"] * 6, timeout=DEADLINE)
    for manager in (first, second):
        assert manager.known.kinds(UID) == WHOLE
        assert str(manager.known.told[0].attributes.PatientName) == "Möller^Ann"
        assert manager.known.told[0].attributes == creation(scheduled("1.2.3"))
        assert manager.known.told[2].attributes == completion(["1.2.9", "1.2.10"])


def test_an_answer_that_was_lost_is_not_a_refusal(forwarding, serving):
    """The manager took the N-CREATE and the last N-SET, and the association broke before it said so."""
    with StepManager() as manager:
        settings = forwarding(manager)
        with serving(settings) as gateway:
            manager.deaf = 1
            create_step("CR1", gateway, UID, creation())
            eventually(lambda: states(settings) == ["delivered"], timeout=DEADLINE)
            manager.deaf = 1
            set_step("CR1", gateway, UID, completion())
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)
    assert [row["attempts"] for row in table(settings, "message")] == [2, 2]
    assert manager.known.kinds(UID) == [WHOLE[0], WHOLE[2]]


def test_a_manager_that_is_down_is_told_later(forwarding, serving):
    down = StepManager()
    settings = forwarding(down)
    with serving(settings) as gateway:
        perform(gateway)
        eventually(lambda: table(settings, "message")[0]["attempts"] > 1, timeout=DEADLINE)
        assert "could not be reached" in table(settings, "message")[0]["reason"]
        assert [row["attempts"] for row in table(settings, "message")[1:]] == [0, 0]
        with down:
            eventually(lambda: states(settings) == ["delivered"] * 3, timeout=DEADLINE)
    assert down.known.kinds(UID) == WHOLE


def test_a_refusal_is_parked_shown_and_retried(forwarding, serving, told):
    with StepManager() as manager:
        settings = forwarding(manager)
        manager.status = 0x0120
        with serving(settings) as gateway:
            perform(gateway)
            eventually(lambda: states(settings)[0] == "parked", timeout=DEADLINE)
            assert states(settings) == ["parked", "waiting", "waiting"]
            status, said = told(settings, "status")
            assert status == 3
            assert "ris           performed steps: 0 told, 2 waiting for" in said
            assert "1 parked" in said
            assert "answered with status 0120" in said
            assert "Möller" not in said
            assert told(settings, "dismiss")[1].startswith(
                f"parked for ris: N-CREATE of performed procedure step {UID}"
            )
            manager.status = None
            assert told(settings, "retry") == (
                0,
                "0 parked object(s) are sent again\n1 parked message(s) are sent again\n",
            )
            eventually(lambda: states(settings) == ["delivered"] * 3, timeout=DEADLINE)
    assert manager.known.kinds(UID) == WHOLE
    assert told(settings, "status")[0] == 0


def test_a_step_that_somebody_else_created_there_needs_a_person(forwarding, serving, told):
    with StepManager() as manager:
        settings = forwarding(manager)
        manager.known.steps[UID] = creation()
        with serving(settings) as gateway:
            create_step("CR1", gateway, UID, creation())
            eventually(lambda: states(settings) == ["parked"], timeout=DEADLINE)
            assert told(settings, "retry")[0] == 0
            eventually(lambda: states(settings) != ["waiting"], timeout=DEADLINE)
            assert states(settings) == ["parked"]  # a refusal that was heard is no lost answer
            assert told(settings, "dismiss", "--yes")[1].startswith("parked for ris")
            set_step("CR1", gateway, UID, completion())
    assert states(settings) == ["dismissed"]


@pytest.mark.parametrize("waits", [True, False], ids=["waiting behind", "later"])
def test_an_interim_change_that_is_let_be_does_not_keep_the_end_back(forwarding, serving, told, waits):
    with StepManager() as manager:
        settings = forwarding(manager)
        with serving(settings) as gateway:
            create_step("CR1", gateway, UID, creation())
            eventually(lambda: states(settings) == ["delivered"], timeout=DEADLINE)
            manager.status = 0x0105
            set_step("CR1", gateway, UID, completion(["1.2.9"], status="IN PROGRESS"))
            eventually(lambda: states(settings) == ["delivered", "parked"], timeout=DEADLINE)
            if waits:
                set_step("CR1", gateway, UID, completion(["1.2.9"]))
            manager.status = None
            assert "1 parked message(s)" in told(settings, "dismiss", "--yes")[1]
            if not waits:
                set_step("CR1", gateway, UID, completion(["1.2.9"]))
            eventually(lambda: states(settings) == ["delivered", "dismissed", "delivered"], timeout=DEADLINE)
    assert manager.known.kinds(UID) == [WHOLE[0], WHOLE[2]]


@pytest.fixture
def line(make_settings):
    """A ledger with a parked N-CREATE of an old line, and an N-SET behind it."""
    settings = make_settings()
    settings.spool.path.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        first, second = (
            messages.add(connection, messages.STEP, "ris", UID, 100.0, operation=operation)
            for operation in (0, 1)
        )
        messages.finish(connection, first, state="parked", now=200.0, reason="refused")
    yield settings, ledger, first, second
    ledger.engine.dispose()


@pytest.mark.parametrize("mended", ["retried", "dismissed"])
def test_what_waits_behind_a_parked_message_is_not_old_when_its_turn_comes(line, mended):
    _, ledger, first, second = line
    with ledger.begin() as connection:
        if mended == "retried":
            assert messages.unpark(connection, first, 1e6)
        else:
            messages.finish(connection, second, state="parked", now=200.0, reason="refused")
            third = messages.add(connection, messages.STEP, "ris", UID, 100.0, operation=2)
            messages.dismiss(connection, messages.get(connection, second), 1e6)
            second = third
        assert messages.get(connection, second).created_at == 1e6


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_change_that_comes_while_its_step_is_let_be_is_let_be_too(line, told):
    settings, ledger, *_ = line
    blocked = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def waits_or_ended():
        with ledger.begin() as other:
            return other.execute(blocked).scalar_one() or run.done()

    with ThreadPoolExecutor(1) as pool:
        with ledger.begin() as connection:
            one_at_a_time(connection, f"performed step {UID}")
            messages.add(connection, messages.STEP, "ris", UID, 300.0, operation=2)
            run = pool.submit(told, settings, "dismiss", "--yes")
            eventually(waits_or_ended, timeout=DEADLINE)
        assert run.result(DEADLINE)[0] == 0
    assert states(settings) == ["dismissed"] * 3


def test_what_a_fatal_delivery_kept_back_is_told(archive, notifying, serving, monkeypatch):
    """The process ended with each attempt to deliver one object; another of the study was taken before."""
    with AvailabilityManager() as manager:
        settings = notifying(archive, manager)
        refuse = sa.update(delivery).where(delivery.c.id == 2)
        with serving(settings) as gateway:
            assert send([film()], gateway.port) == [0]
            eventually(lambda: states(settings) == ["delivered"], timeout=DEADLINE)
        manager.notified.clear()
        ledger = open_ledger(settings.database_url)
        with ledger.begin() as connection:  # as it was before that
            connection.execute(sa.delete(announced))
            connection.execute(sa.delete(message))
            connection.execute(refuse.values(state="waiting", finished_at=None))
        ledger.engine.dispose()
        monkeypatch.setattr("cxr_pacs.gateway.queue.Queue.exhausted", lambda *_: True)
        with serving(settings):
            eventually(lambda: manager.notified, timeout=DEADLINE)
    (attributes,) = manager.notified.values()
    assert sum(len(one.ReferencedSOPSequence) for one in attributes.ReferencedSeriesSequence) == 1


def test_who_cannot_send_steps_on_says_so(forwarding, told, capsys):
    settings = forwarding(StepManager())
    assert told(settings, "worklist", "serve")[0] == 2
    assert "run `cxr-pacs serve`" in capsys.readouterr().err
    alone = settings.model_copy(update={"mpps": settings.mpps.model_copy(update={"serve": False})})
    assert told(alone, "status")[0] == 2
    assert "set mpps.serve = true" in capsys.readouterr().err


@pytest.fixture
def notifying(make_settings):
    def make(archive, manager, **more):
        made = make_settings(archive).model_dump()
        notify = {"ae_title": manager.ae_title, "host": manager.host, "port": manager.port}
        made["destination"] = [made["destination"][0] | {"notify": notify}]
        return Settings.model_validate(made | more)

    return make


def film(seed=0):
    return make_radiograph(picture=synthetic_chest(150, 130, seed))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_who_wants_to_know_is_told_what_an_archive_took(archive, notifying, serving, told):
    with AvailabilityManager() as manager:
        settings = notifying(archive, manager, mpps={"serve": True})
        image = film()
        with serving(settings) as gateway:
            create_step("CR1", gateway, UID, creation(scheduled(image.StudyInstanceUID)))
            set_step("CR1", gateway, UID, completion([image.SOPInstanceUID]))
            assert send([image], gateway.port) == [0]
            eventually(lambda: manager.notified, timeout=DEADLINE)
            eventually(lambda: states(settings) == ["delivered"], timeout=DEADLINE)
    (attributes,) = manager.notified.values()
    assert attributes.StudyInstanceUID == image.StudyInstanceUID
    (step,) = attributes.ReferencedPerformedProcedureStepSequence
    assert step.ReferencedSOPInstanceUID == UID
    named = {}
    for series in attributes.ReferencedSeriesSequence:
        for one in series.ReferencedSOPSequence:
            named[one.ReferencedSOPInstanceUID] = (series.SeriesInstanceUID, one.ReferencedSOPClassUID)
            assert (one.InstanceAvailability, one.RetrieveAETitle) == ("ONLINE", archive.ae_title)
    assert named == {
        one.sop_instance_uid: (one.series_instance_uid, one.sop_class_uid) for one in archive.instances
    }
    assert len(named) == 2
    status, said = told(settings, "why", image.StudyInstanceUID)
    assert status == 0, said
    assert f"Performed procedure step {UID} was begun by CR1.\n" in said
    assert f"Performed procedure step {UID} completed with 1 instance.\n" in said
    assert "The availability of 2 object(s) at pacs0 was told.\n" in said


def test_a_notification_is_parked_retried_and_told_once(archive, notifying, serving, told):
    """A second report is notified of by itself; a duplicate has been told before."""
    with AvailabilityManager() as manager:
        settings = notifying(archive, manager)
        manager.status = 0x0106
        image = film()
        later = film(1)
        later.StudyInstanceUID = image.StudyInstanceUID
        with serving(settings) as gateway:
            assert send([image], gateway.port) == [0]
            eventually(lambda: states(settings) == ["parked"], timeout=DEADLINE)
            status, said = told(settings, "why", image.StudyInstanceUID)
            assert status == 3
            assert "answered with status 0106" in said
            manager.status = 0x0000
            manager.notified[table(settings, "message")[0]["line"]] = None
            assert "1 parked message(s)" in told(settings, "retry", image.StudyInstanceUID)[1]
            eventually(lambda: states(settings) == ["delivered"], timeout=DEADLINE)
            assert send([later], gateway.port) == [0]
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)
    (second,) = (one for one in manager.notified.values() if one)
    assert sum(len(one.ReferencedSOPSequence) for one in second.ReferencedSeriesSequence) == 2
    assert second.ReferencedPerformedProcedureStepSequence == []
