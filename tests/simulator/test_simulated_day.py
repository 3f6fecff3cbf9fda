"""Simulated modalities against a hospital that another implementation plays."""

from __future__ import annotations

import time

import pytest
from hospital import Hospital
from hypothesis import given
from hypothesis import strategies as st
from peers import free_port
from worklist_items import worklist_dataset

from cxr_pacs.dimse import Peer
from cxr_pacs.simulator import (
    Commitments,
    Modality,
    Outcome,
    Plan,
    Servers,
    Step,
    Wanted,
    default_films,
    play,
    synthetic_film,
)
from cxr_pacs.simulator.day import is_broken_off
from cxr_pacs.simulator.summary import percentile

_FILMS = (synthetic_film(),)


def _items(many, station="ROOM1"):
    return [worklist_dataset(f"{station}-{number}", station=station) for number in range(many)]


def _peer(hospital):
    return Peer(ae_title=hospital.ae_title, host="127.0.0.1", port=hospital.port)


def _modality(hospital, title="ROOM1", *, wanted=None, commitments=None):
    peer = _peer(hospital)
    servers = Servers(worklist=peer, archive=peer, performed=peer, commitment=peer)
    asks = commitments or Commitments(title, peer, None, 10.0)
    return Modality(title, servers, wanted or Wanted(station=title), asks)


def _play(hospital, **plan):
    return play([_modality(hospital)], _FILMS, Plan(**plan))


def _counts(summary):
    return tuple(summary.outcomes[outcome] for outcome in Outcome)


def test_every_item_is_examined_and_committed():
    with Hospital(_items(3)) as hospital:
        summary = _play(hospital)
    assert _counts(summary) == (3, 0, 0)
    assert set(summary.latencies) == set(Step)
    assert {latency.count for step, latency in summary.latencies.items() if step is not Step.WORKLIST} == {3}
    assert [step.PerformedProcedureStepStatus for step in hospital.steps.values()] == ["COMPLETED"] * 3
    assert sorted(image.AccessionNumber for image in hospital.stored) == ["ROOM1-0", "ROOM1-1", "ROOM1-2"]
    assert len({image.SOPInstanceUID for image in hospital.stored}) == 3
    assert hospital.answers == [0x0000] * 3


def test_each_compressed_picture_goes_in_its_own_transfer_syntax():
    films = (*default_films(), *_FILMS)
    with Hospital(_items(4)) as hospital:
        assert _counts(play([_modality(hospital)], films, Plan())) == (4, 0, 0)
    sent = {image.PixelData: image.file_meta.TransferSyntaxUID for image in hospital.stored}
    assert set(sent) == {film.pixels.PixelData for film in films}
    for film in default_films():
        assert sent[film.pixels.PixelData] == film.transfer_syntax_uid


def test_a_report_on_an_association_of_its_own():
    port = free_port()
    with (
        Hospital(_items(2), told_at={"ROOM1": port}) as hospital,
        Commitments("ROOM1", _peer(hospital), port, 10.0) as commitments,
    ):
        summary = play([_modality(hospital, commitments=commitments)], _FILMS, Plan())
    assert _counts(summary) == (2, 0, 0)
    assert summary.latencies[Step.COMMITMENT].count == 2
    assert hospital.answers == [0x0000] * 2


def test_each_modality_takes_what_is_scheduled_for_it():
    with Hospital(_items(2, "ROOM1") + _items(3, "ROOM2")) as hospital:
        summary = play([_modality(hospital, "ROOM1"), _modality(hospital, "ROOM2")], _FILMS, Plan())
    assert _counts(summary) == (5, 0, 0)
    assert (hospital.calls["store", "ROOM1"], hospital.calls["store", "ROOM2"]) == (2, 3)
    assert {image.StationName: image.AccessionNumber[:5] for image in hospital.stored} == {
        "ROOM1": "ROOM1",
        "ROOM2": "ROOM2",
    }


def test_an_item_for_two_stations_is_examined_once():
    items = _items(2)
    for item in items:
        item.ScheduledProcedureStepSequence[0].ScheduledStationAETitle = ["ROOM1", "ROOM2"]
    with Hospital(items) as hospital:
        both = [_modality(hospital, title, wanted=Wanted()) for title in ("ROOM1", "ROOM2")]
        summary = play(both, _FILMS, Plan())
    assert _counts(summary) == (2, 0, 0)


def test_a_share_is_discontinued_without_an_image():
    with Hospital(_items(5)) as hospital:
        summary = _play(hospital, discontinued=0.4)
    assert _counts(summary) == (3, 2, 0)
    states = sorted(step.PerformedProcedureStepStatus for step in hospital.steps.values())
    assert states == ["COMPLETED"] * 3 + ["DISCONTINUED"] * 2
    assert len(hospital.stored) == 3


def test_count_ends_the_day():
    with Hospital(_items(5)) as hospital:
        assert _counts(_play(hospital, count=2)) == (2, 0, 0)


def test_one_modality_may_examine_several_at_once():
    with Hospital(_items(6)) as hospital:
        _play(hospital, at_once=3)
        assert 1 < hospital.most_at_once <= 3


def test_a_rate_is_kept():
    with Hospital(_items(4)) as hospital:
        began = time.monotonic()
        _play(hospital, rate=600.0)
        assert time.monotonic() - began >= 0.3  # three pauses of 0.1 s


@pytest.mark.parametrize(
    ("what", "step", "reason"),
    [
        ("find", Step.WORKLIST, "C001"),
        ("create", Step.IN_PROGRESS, "0110"),
        ("store", Step.STORE, "A700"),
        ("ask", Step.COMMITMENT_REQUEST, "0124"),
        ("set", Step.FINAL, "0110"),
    ],
)
def test_what_is_refused_is_a_failure_with_its_step_and_reason(what, step, reason):
    with Hospital(_items(2)) as hospital:
        hospital.refuse[what] = int(reason, 16)
        summary = _play(hospital)
    assert summary.outcomes[Outcome.COMPLETED] == 0
    assert {failure.step for failure in summary.failures} == {step}
    assert all(reason in failure.reason for failure in summary.failures)
    assert not any("Doe" in line for line in summary.lines())


@pytest.mark.parametrize(("what", "status", "images"), [("store", 0xA700, 0), ("ask", 0x0124, 1)])
def test_what_fails_in_between_is_discontinued(what, status, images):
    with Hospital(_items(2)) as hospital:
        hospital.refuse[what] = status
        summary = _play(hospital)
    assert _counts(summary) == (0, 0, 2)
    for step in hospital.steps.values():
        assert step.PerformedProcedureStepStatus == "DISCONTINUED"
        (reason,) = step.PerformedProcedureStepDiscontinuationReasonCodeSequence
        assert (reason.CodeValue, reason.CodeMeaning) == ("110501", "Equipment failure")
        assert len(step.PerformedSeriesSequence[0].ReferencedImageSequence) == images


def test_a_step_that_cannot_be_discontinued_is_told():
    with Hospital(_items(1)) as hospital:
        hospital.refuse |= {"store": 0xA700, "set": 0x0110}
        (failure,) = _play(hospital).failures
    assert failure.step is Step.STORE
    assert "A700" in failure.reason
    assert "step stays in progress" in failure.reason
    assert "0110" in failure.reason


def test_an_incomplete_item_does_not_keep_the_others_back():
    items = _items(3)
    items[1].PatientID = ""
    del items[2].ScheduledProcedureStepSequence[0].ScheduledProcedureStepID
    with Hospital(items) as hospital:
        summary = _play(hospital)
    assert _counts(summary) == (1, 0, 0)
    assert summary.latencies[Step.WORKLIST].count == 1
    assert [failure.reason.partition(" ")[0] for failure in summary.failures] == [
        "PatientID",
        "ScheduledProcedureStepID",
    ]
    for failure in summary.failures:
        assert (failure.station_ae_title, failure.step) == ("ROOM1", Step.WORKLIST)
        assert failure.study_instance_uid == items[0].StudyInstanceUID


def test_what_is_not_committed_is_a_failure():
    with Hospital(_items(1)) as hospital:
        hospital.failure_reason = 0x0112
        (failure,) = _play(hospital).failures
    assert failure.step is Step.COMMITMENT
    assert "did not commit 1 object(s): no such object instance" in failure.reason


@pytest.mark.parametrize("own_port", [False, True])
def test_a_report_that_does_not_come_is_a_failure(own_port):
    with Hospital(_items(1)) as hospital:
        hospital.silent = True
        port = free_port() if own_port else None
        with Commitments("ROOM1", _peer(hospital), port, 0.2) as commitments:
            (failure,) = play([_modality(hospital, commitments=commitments)], _FILMS, Plan()).failures
    assert failure.step is Step.COMMITMENT
    assert "did not report" in failure.reason


def test_reports_that_do_not_come_are_waited_for_together():
    patience = 4.0
    with Hospital(_items(4)) as hospital:
        hospital.silent = True
        with Commitments("ROOM1", _peer(hospital), free_port(), patience) as commitments:
            began = time.monotonic()
            summary = play([_modality(hospital, commitments=commitments)], _FILMS, Plan(at_once=4))
            took = time.monotonic() - began
    assert [failure.step for failure in summary.failures] == [Step.COMMITMENT] * 4
    assert patience <= took < 4 * patience


def test_nobody_there_is_a_failure_and_no_crash():
    with Hospital([]) as hospital:
        pass
    summary = _play(hospital)
    assert _counts(summary) == (0, 0, 0)
    assert "could not be reached" in summary.failures[0].reason


@given(share=st.floats(0, 1), many=st.integers(0, 300))
def test_a_share_is_spread_evenly(share, many):
    assert sum(is_broken_off(number, share) for number in range(many)) == int(many * share)


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= len(values) * share
    assert sum(value < found for value in values) * 100 < len(values) * share
