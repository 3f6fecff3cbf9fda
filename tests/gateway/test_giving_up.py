"""What fails and is tried again: until when, and that a person is told; and a report that is overtaken."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from peers import eventually, send
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, radiographs, table

from cxr_pacs.errors import DestinationUnavailable
from cxr_pacs.gateway import dismissal
from cxr_pacs.gateway.documents import Writer
from cxr_pacs.gateway.failures import FAILURES_AT_MOST, Failure, hopeless
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.rerun import ask_again, outcome
from cxr_pacs.gateway.routing import Routes
from cxr_pacs.gateway.standing import standing
from cxr_pacs.gateway.tables import instance
from cxr_pacs.gateway.watermark import disk_usage
from cxr_pacs.settings import Settings

IDENTITY = "Sensitive^Name"


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


@pytest.fixture(autouse=True)
def unswept(monkeypatch):
    """What goes on does so by itself."""
    monkeypatch.setattr("cxr_pacs.gateway.sweep.SWEEP_SECONDS", 3600.0)


class Broken:
    """Fails in one way, from when it is put in place of something on."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    def __call__(self, *_, **__):
        self.calls += 1
        raise self.error


def told(settings, uid):
    with looking(settings) as ledger, ledger.begin() as connection:
        history = study_history(connection, uid)
        return [*(event.sentence for event in history.events), history.conclusion]


def stands(settings):
    with looking(settings) as ledger, ledger.begin() as connection:
        return standing(connection, {"pacs0": None}, (), disk_usage(settings.spool))


def to_dismiss(settings):
    with looking(settings) as ledger, ledger.begin() as connection:
        return [(one.fate, one.reason) for one in dismissal.held(connection, None)]


def read_again(settings, study):
    with looking(settings) as ledger:
        queue = Queue(ledger.engine)
        with ledger.begin() as connection:
            asked, _ = ask_again(connection, queue, study, settings.spool.path, time.time())
        queue.close()

        def done():
            with ledger.begin() as connection:
                return outcome(connection, asked)

        return eventually(done, timeout=DEADLINE)


def test_a_report_that_fails_as_nobody_foresaw_is_given_up_and_a_person_told(
    archive, make_settings, serving, monkeypatch, caplog
):
    settings = make_settings(archive)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0), PatientName=IDENTITY)
    write = Broken(NotImplementedError(IDENTITY))
    with monkeypatch.context() as broken, serving(settings) as gateway:
        broken.setattr(Writer, "write", write)
        assert send([film], gateway.port) == [0]
        problem = eventually(lambda: table(settings, "study")[0]["problem"], timeout=DEADLINE)
        assert write.calls == FAILURES_AT_MOST
        assert problem.startswith("It failed 5 time(s), the last: NotImplementedError in __call__")
        assert told(settings, film.StudyInstanceUID)[-1].endswith(f"none of the newest images: {problem}")
        now = stands(settings)
        assert (now.without_report, now.unreported, now.needs_a_person) == (1, 1, True)
        assert now.oldest_waiting == table(settings, "instance")[0]["received_at"]
        assert to_dismiss(settings) == [("not reported", problem)]
        said, failed = read_again(settings, film.StudyInstanceUID)
        assert failed
        assert "no report could be made: It failed 5 time(s)" in said
        broken.undo()
        assert "has its first report" in read_again(settings, film.StudyInstanceUID)[0]
    assert table(settings, "failure") == []
    assert IDENTITY not in caplog.text


def test_a_report_that_waits_for_the_disk_says_so_and_goes_on(archive, make_settings, serving, monkeypatch):
    settings = make_settings(archive)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    with monkeypatch.context() as broken, serving(settings) as gateway:
        broken.setattr(Writer, "write", Broken(PermissionError(13, "not now", IDENTITY)))
        assert send([film], gateway.port) == [0]
        eventually(lambda: stands(settings).needs_a_person, timeout=DEADLINE)
        now = stands(settings)
        assert (now.without_report, now.failing) == (0, 1)
        assert now.last_failure.startswith("PermissionError in __call__")
        assert "The report is not made yet. It failed " in told(settings, film.StudyInstanceUID)[-1]
        broken.undo()
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        eventually(lambda: table(settings, "failure") == [])
    assert not stands(settings).needs_a_person


def test_an_analysis_that_waits_for_the_disk_says_so_and_is_held_in_the_end(
    archive, make_settings, serving, monkeypatch
):
    settings = make_settings(archive, give_up_after=1.5)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    monkeypatch.setattr(Reader, "open", Broken(PermissionError(13, "not now", IDENTITY)))
    with serving(settings) as gateway:
        assert send([film], gateway.port) == [0]
        eventually(lambda: "not done yet. It failed" in told(settings, film.StudyInstanceUID)[0])
        eventually(lambda: table(settings, "instance")[0]["decision"] == "hold", timeout=DEADLINE)
    (row,) = table(settings, "instance")
    assert row["rung"] == "failure"
    assert "given up. It failed " in row["reason"]
    assert "PermissionError in __call__" in row["reason"]
    assert table(settings, "failure") == []


def test_an_image_whose_original_is_gone_is_held_whatever_its_routes(
    archive, make_settings, serving, monkeypatch
):
    """It can be routed no more, too; sent again, it is read."""
    onward = {"route": [{"destinations": ["pacs0"], "objects": ["original"], "station": ["XR1"]}]}
    settings = Settings.model_validate(make_settings(archive).model_dump() | onward)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    read = Reader.open

    def lost(self, path):
        path.unlink(missing_ok=True)
        return read(self, path)

    with monkeypatch.context() as broken, serving(settings) as gateway:
        broken.setattr(Reader, "open", lost)
        assert send([film], gateway.port) == [0]
        eventually(lambda: table(settings, "instance")[0]["decision"] == "hold", timeout=DEADLINE)
        came, *_, left_out, conclusion = told(settings, film.StudyInstanceUID)
        assert "no longer in the spool: send the very same object to this gateway again" in came
        assert "was not forwarded, as its routes are not known: FileNotFoundError" in left_out
        assert conclusion == "1 instance(s) are held and need a person."
        broken.undo()
        assert send([film], gateway.port) == [0]
        read_again(settings, film.StudyInstanceUID)
    assert table(settings, "instance")[0]["decision"] == "accept"


def test_routes_that_fail_do_not_undo_a_hold(archive, make_settings, serving, monkeypatch):
    settings = make_settings(archive)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    monkeypatch.setattr(BrightEngine, "analyse", Broken(RuntimeError(IDENTITY)))
    monkeypatch.setattr(Routes, "forward_any", Broken(RuntimeError(IDENTITY)))
    monkeypatch.setattr("cxr_pacs.gateway.forwarding.Forwarding.schedule", _analyse_only)
    with serving(settings) as gateway:
        assert send([film], gateway.port) == [0]
        eventually(lambda: table(settings, "instance")[0]["decision"] == "hold", timeout=DEADLINE)
    assert IDENTITY not in " ".join(told(settings, film.StudyInstanceUID))


def _analyse_only(self, connection, instance_id):
    self._queue.enqueue(connection, "analyse", instance_id, 1)


def test_a_report_that_is_overtaken_looks_again(archive, make_settings, serving, monkeypatch):
    """While it is written, somebody else changes what it is of, and does not look after the study."""
    settings = make_settings(archive)
    write, overtaken = Writer.write, []

    def slow(self, rows, *arguments):
        if not overtaken:
            overtaken.extend(rows)
            with looking(settings) as ledger, ledger.begin() as connection:
                connection.execute(sa.update(instance).values(quality=["seen anew"]))
        return write(self, rows, *arguments)

    monkeypatch.setattr(Writer, "write", slow)
    with serving(settings) as gateway:
        assert send(radiographs(1), gateway.port) == [0]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    assert len(overtaken) == 1


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), DestinationUnavailable("later")])
def test_a_disk_that_is_away_is_waited_for(tmp_path, error):
    away = tmp_path / "originals" / "ab" / "one.dcm"
    failed = Failure(times=100, since=0.0, last=60.0, reason="it")
    assert hopeless(error, failed, [away], 60.0) is None
    assert hopeless(error, failed, [away], 59.0) == "It failed 100 time(s), the last: it."
    away.parent.mkdir(parents=True)
    gone = hopeless(error, failed, [away], 60.0)
    assert (gone is None) == isinstance(error, DestinationUnavailable)
    away.touch()
    assert hopeless(error, failed, [away], 60.0) is None
