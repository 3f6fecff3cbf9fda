"""Reports of one study reach a destination in the order in which they were owed, whatever fails between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import pytest
from peers import Archive, StubbornArchive, eventually, free_port, send
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, table

from cxr_pacs.gateway import owed
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.settings import Settings

HOURS = {"first_retry": 3600.0, "longest_retry": 3600.0}


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


class Moody(StubbornArchive):
    """Answers the first attempts with each of `statuses` in turn, and remembers every attempt."""

    def __init__(self, folder, *statuses, **options):
        super().__init__(folder, status=0, **options)
        self.tried = []
        self._statuses = list(statuses)

    def store(self, event):
        self.tried.append(str(event.request.AffectedSOPInstanceUID))
        self.status = self._statuses.pop(0) if self._statuses else 0
        return super().store(event)


def films(count):
    made = [make_radiograph(picture=synthetic_chest(150, 130, seed)) for seed in range(count)]
    for one in made:
        one.StudyInstanceUID = made[0].StudyInstanceUID
    return made


def states(settings):
    return [row["state"] for row in table(settings, "delivery")]


class NoRoom(StubbornArchive):
    """Has no room for the first objects of `modality`, and answers them with `status`."""

    def __init__(self, folder, modality, status, times):
        super().__init__(folder, status=0)
        self.modality, self.refusal, self.times = modality, status, times

    def store(self, event):
        refused = self.times > 0 and event.dataset.Modality == self.modality
        self.times -= refused
        self.status = self.refusal if refused else 0
        return super().store(event)


@pytest.fixture
def successors(make_settings, serving):
    """Two reports of one study, one after the other, to a peer; entered, the gateway runs."""

    @contextmanager
    def of(archive, **delivery):
        settings = make_settings(archive, **delivery)
        with serving(settings) as gateway:
            for number, one in enumerate(films(2), 1):
                assert send([one], gateway.port) == [0]
                eventually(lambda n=number: len(states(settings)) == 2 * n, timeout=DEADLINE)
            yield settings

    return of


def reports(settings):
    return [row["sop_instance_uid"] for row in table(settings, "result") if row["kind"] == "SR"]


def test_a_report_waits_for_no_heatmap(tmp_path, make_settings, serving):
    with NoRoom(tmp_path / "full", "OT", 0xA700, times=1000) as archive:
        settings = make_settings(archive)
        with serving(settings) as gateway:
            assert send(films(1), gateway.port) == [0]
            archive.wait_for(lambda held: [one.modality for one in held] == ["SR"], timeout=DEADLINE)
            archive.times = 0
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)


def test_a_report_comes_after_the_one_that_it_replaces(tmp_path, successors):
    late = Archive(tmp_path / "late", port=free_port())
    with successors(late) as settings, late:
        eventually(lambda: states(settings) == ["delivered"] * 4, timeout=DEADLINE)
    first, second = reports(settings)
    assert [uid for uid in late.receptions if uid in {first, second}] == [first, second]


def test_who_waits_says_so(tmp_path, successors):
    with successors(Archive(tmp_path / "down", port=free_port()), **HOURS) as settings:
        ledger = open_ledger(settings.database_url)
        with ledger.begin() as connection:
            said = [event.sentence for event in study_history(connection, reports(settings)[0]).events]
        ledger.engine.dispose()
    assert said.count("The report for pacs0 has its turn after the one before it.") == 1


def test_a_report_that_is_refused_lets_the_next_go(tmp_path, successors):
    with NoRoom(tmp_path / "no", "SR", 0xA900, times=1) as archive, successors(archive) as settings:
        eventually(lambda: Counter(states(settings)) == {"parked": 1, "delivered": 3}, timeout=DEADLINE)
        first, second = reports(settings)
        assert second in archive.receptions
        assert first not in archive.receptions


def test_what_is_sent_again_on_request_comes_before_what_waits_behind_it(tmp_path, successors):
    with successors(Archive(tmp_path / "down", port=free_port()), **HOURS) as settings:
        first = next(row["id"] for row in table(settings, "result") if row["kind"] == "SR")
        row_id = next(row["id"] for row in table(settings, "delivery") if row["result_id"] == first)
        ledger = open_ledger(settings.database_url)
        with ledger.begin() as connection:
            row = owed.get(connection, owed.DELIVER, row_id)
            assert owed.first_in_line(connection, row) == row_id
            owed.finish(connection, owed.DELIVER, row_id, state="parked", now=time.time(), reason="a test")
            assert owed.first_in_line(connection, row) not in {None, row_id}
            assert owed.unpark(connection, owed.DELIVER, row_id, time.time())
            assert owed.first_in_line(connection, row) == row_id
        ledger.engine.dispose()


def test_who_is_next_is_taken_up_where_nobody_told_it(tmp_path, successors, monkeypatch):
    """As where the process dies, or the database, between the end of one and the turn of the next."""
    monkeypatch.setattr("cxr_pacs.gateway.sweep.SWEEP_SECONDS", 0.2)
    real, told = owed.first_in_line, []

    def silent_once(connection, row):
        following = real(connection, row)
        ended = owed.get(connection, row.work, row.id).state == "delivered"
        if ended and following is not None and not told:
            told.append(row.id)
            return None
        return following

    late = Archive(tmp_path / "late", port=free_port())
    with successors(late) as settings:
        monkeypatch.setattr(owed, "first_in_line", silent_once)
        with late:
            eventually(lambda: states(settings) == ["delivered"] * 4, timeout=DEADLINE)
    assert len(told) == 1


def test_refusals_do_not_leave_the_others_to_their_back_off(tmp_path, make_settings, serving):
    studies = 4
    port = free_port()
    settings = make_settings(Archive(tmp_path / "down", port=port), **HOURS, probe_every=0.2)
    with serving(settings) as gateway:
        for seed in range(studies):
            assert send([make_radiograph(picture=synthetic_chest(150, 130, seed))], gateway.port) == [0]
        eventually(
            lambda: [row["attempts"] for row in table(settings, "delivery")] == [1] * (2 * studies),
            timeout=DEADLINE,
        )
        # Both that are woken, and those that these wake.
        with Moody(tmp_path / "moody", *[0xC000] * 4, port=port):
            eventually(lambda: Counter(states(settings)) == {"parked": 4, "delivered": 4}, timeout=DEADLINE)


def test_a_destination_has_a_pace_of_its_own(tmp_path, make_settings, serving):
    busy = threading.Barrier(2)

    class Slow(Archive):
        """Notices whether two objects come at once."""

        at_once = False

        def store(self, event):
            with suppress(threading.BrokenBarrierError):
                busy.wait(0.5)
                self.at_once = True
            busy.reset()
            return super().store(event)

    with Slow(tmp_path / "slow") as slow, StubbornArchive(tmp_path / "full", status=0xA700) as full:
        paces = ({"at_once": 1}, {"at_once": 3, "first_retry": 900.0, "longest_retry": 900.0})
        settings = make_settings(slow, full).model_dump()
        for one, pace in zip(settings["destination"], paces, strict=True):
            one["pace"] = pace
        settings = Settings.model_validate(settings)
        with serving(settings) as gateway:
            for seed in range(3):
                send([make_radiograph(picture=synthetic_chest(150, 130, seed))], gateway.port)
            eventually(lambda: Counter(states(settings)) == {"delivered": 6, "waiting": 6}, timeout=DEADLINE)
            assert not slow.at_once
            eventually(
                lambda: [row["attempts"] for row in table(settings, "delivery")] == [1] * 12,
                timeout=DEADLINE,
            )
            soon = time.time() + 600
            assert all(r["next_at"] > soon for r in table(settings, "delivery") if r["reason"])
