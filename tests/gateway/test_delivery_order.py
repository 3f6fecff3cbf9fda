"""Objects of one study reach a destination in the order in which they were owed, whatever fails between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from peers import Archive, StubbornArchive, eventually, free_port, send
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, table

from cxr_pacs.gateway import owed
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.queue import Queue
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


def owed_in_order(settings):
    results = {row["id"]: row["sop_instance_uid"] for row in table(settings, "result")}
    return [results[row["result_id"]] for row in table(settings, "delivery")]


def states(settings):
    return [row["state"] for row in table(settings, "delivery")]


def test_a_report_waits_for_its_heatmap(tmp_path, make_settings, serving):
    with Moody(tmp_path / "moody", 0xA700, 0xA700) as archive:
        settings = make_settings(archive)
        with serving(settings) as gateway:
            assert send(films(1), gateway.port) == [0]
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)
        heatmap, report = owed_in_order(settings)
        assert archive.tried == [heatmap] * 3 + [report]


def test_what_is_refused_lets_the_next_go(tmp_path, make_settings, serving):
    with Moody(tmp_path / "moody", 0xA900) as archive:
        settings = make_settings(archive)
        with serving(settings) as gateway:
            assert send(films(1), gateway.port) == [0]
            eventually(lambda: states(settings) == ["parked", "delivered"], timeout=DEADLINE)
        assert archive.tried == owed_in_order(settings)


def test_a_report_comes_after_the_one_that_it_replaces(tmp_path, make_settings, serving):
    late = Archive(tmp_path / "late", port=free_port())
    settings = make_settings(late)
    first, second = films(2)
    with serving(settings) as gateway:
        for number, one in enumerate((first, second), 1):
            assert send([one], gateway.port) == [0]
            eventually(lambda n=number: len(states(settings)) == 2 * n, timeout=DEADLINE)
        with late:
            eventually(lambda: states(settings) == ["delivered"] * 4, timeout=DEADLINE)
        assert late.receptions == owed_in_order(settings)


def test_what_is_sent_again_on_request_comes_before_what_waits_behind_it(tmp_path, make_settings, serving):
    with Moody(tmp_path / "moody", 0xA900, *[0xA700] * 1000) as archive:
        settings = make_settings(archive)
        with serving(settings) as gateway:
            assert send(films(1), gateway.port) == [0]
            eventually(
                lambda: [row["attempts"] for row in table(settings, "delivery")] >= [1, 1], timeout=DEADLINE
            )
            heatmap, report = owed_in_order(settings)
            ledger = open_ledger(settings.database_url)
            queue = Queue(ledger.engine)
            with ledger.begin() as connection:
                assert owed.unpark(connection, owed.DELIVER, 1, time.time())
                queue.enqueue(connection, owed.DELIVER, 1, 2, partition="pacs0")
            queue.close()
            ledger.engine.dispose()
            eventually(lambda: table(settings, "delivery")[0]["attempts"] >= 1, timeout=DEADLINE)
            archive._statuses.clear()
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)
        assert archive.receptions == [heatmap, report]


def test_who_is_next_is_taken_up_where_nobody_told_it(tmp_path, make_settings, serving, monkeypatch):
    """As where the process dies, or the database, between the end of one and the turn of the next."""
    monkeypatch.setattr("cxr_pacs.gateway.sweep.SWEEP_SECONDS", 0.2)
    real, told = owed.first_in_line, []

    def silent_once(connection, row):
        if owed.get(connection, row.work, row.id).state == "delivered" and not told:
            told.append(row.id)
            return None
        return real(connection, row)

    monkeypatch.setattr(owed, "first_in_line", silent_once)
    with Archive(tmp_path / "up") as archive:
        settings = make_settings(archive)
        with serving(settings) as gateway:
            assert send(films(1), gateway.port) == [0]
            eventually(lambda: states(settings) == ["delivered"] * 2, timeout=DEADLINE)
    assert told == [1]


def test_refusals_do_not_leave_the_others_to_their_back_off(tmp_path, make_settings, serving):
    studies = 4
    port = free_port()
    settings = make_settings(Archive(tmp_path / "down", port=port), **HOURS, probe_every=0.2)
    with serving(settings) as gateway:
        for seed in range(studies):
            assert send([make_radiograph(picture=synthetic_chest(150, 130, seed))], gateway.port) == [0]
        eventually(
            lambda: (
                Counter(row["attempts"] for row in table(settings, "delivery")) == {1: studies, 0: studies}
            ),
            timeout=DEADLINE,
        )
        # Both that are woken, and what comes behind them.
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
                lambda: Counter(row["attempts"] for row in table(settings, "delivery")) == {1: 9, 0: 3},
                timeout=DEADLINE,
            )
            soon = time.time() + 600
            assert all(r["next_at"] > soon for r in table(settings, "delivery") if r["reason"])
