from __future__ import annotations

import numpy as np
import pytest
import score_tables as made
from hypothesis import given
from hypothesis import strategies as st

from training.calibrate import (
    calibrate,
    calibrate_table,
    fit_temperature,
    operating_point,
    recalibrated,
    softmax,
    truth,
)
from training.corpus import CorpusError


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_of_drawn_labels_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20000, 3))
    drawn = (softmax(logits, temperature).cumsum(axis=1) > rng.random((20000, 1))).argmax(axis=1)
    assert fit_temperature(logits, drawn) == pytest.approx(temperature, rel=0.06)


def test_films_that_a_head_does_not_know_are_left_out():
    true = truth(["normal", "covid19", "bacterial_pneumonia"], ("covid19", "bacterial_pneumonia"))
    assert true.tolist() == [-1, 0, 1]
    logits = np.array([[9.0, -9.0], [1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, true) == fit_temperature(logits[1:], true[1:])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60))
def test_the_threshold_keeps_the_target_sensitivity(films):
    scores, positive = np.array([s for s, _ in films]), np.array([p for _, p in films])
    positive[0], positive[1] = True, False
    point = operating_point(scores, positive)
    assert 0 < point.threshold < 1
    found = scores[positive] >= point.threshold
    assert found.mean() >= 0.9 or point.threshold == 0.001
    assert f"{found.mean():.3f} of {positive.sum()}" in point.chosen


def test_the_threshold_is_as_high_as_the_target_allows():
    scores = np.arange(20) / 20
    assert operating_point(scores, scores >= 0.5).threshold == 0.55


def test_a_head_is_calibrated_on_the_films_that_it_knows():
    rng = np.random.default_rng(3)
    head = ("covid19", "bacterial_pneumonia")
    labels = [("covid19", "bacterial_pneumonia", "normal")[i % 3] for i in range(300)]
    logits = rng.normal(0, 1, (300, 2)) + 3 * np.eye(3)[np.arange(300) % 3, :2]
    found = calibrate(logits, labels, head, target=0.95)
    known = truth(labels, head) >= 0
    scores = softmax(logits[known], found.temperature)
    for index, (label, point) in enumerate(zip(head, found.points, strict=True)):
        positive = np.array(labels)[known] == label
        assert (scores[positive, index] >= point.threshold).mean() >= 0.95
        assert "at least 0.95" in point.chosen
        assert "of 100" in point.chosen
    stricter = calibrate(logits, labels, head, target=0.8)
    assert all(a.threshold < b.threshold for a, b in zip(found.points, stricter.points, strict=True))


def test_a_class_without_validation_films_is_named():
    with pytest.raises(CorpusError, match="no validation film is labelled normal"):
        calibrate(np.zeros((2, 3)), ["a", "b"], ("a", "b", "normal"))


def test_a_target_that_ends_between_films_is_not_rounded_down_or_up_by_floating_point():
    scores = np.arange(10) / 10
    assert operating_point(scores, np.ones(10, bool), 0.7).threshold == 0.3
    assert "specificity" not in operating_point(scores, np.ones(10, bool), 0.7).chosen


def test_a_table_is_calibrated_as_its_logits_would_be():
    cases = made.cohorts(films_of_each=30)
    table = made.table(cases, made.drawn(cases, lead=2.0))
    chosen = calibrate_table(table, target=0.9)
    again = recalibrated(table, chosen)
    labels = [case.label for case in cases]
    for head, before in zip(again.heads, table.heads, strict=True):
        logits = np.log(before.probabilities) + 7
        assert chosen[head.head] == calibrate(logits, labels, head.labels, 0.9)
        np.testing.assert_allclose(head.probabilities, softmax(logits, chosen[head.head].temperature))
        assert head.thresholds[0].tolist() == [point.threshold for point in chosen[head.head].points]
        assert (head.probabilities.argmax(axis=1) == before.probabilities.argmax(axis=1)).all()
        for index, label in enumerate(head.labels):
            passed = head.probabilities[:, index] >= head.thresholds[:, index]
            assert passed[np.array(labels) == label].mean() >= 0.9


def test_a_score_of_nothing_can_be_calibrated():
    cases = tuple(made.case(i, label) for i, label in enumerate(made.HEADS["binary"]))
    table = made.table(cases, (made.scores("binary", made.HEADS["binary"], [[1.0, 0.0], [0.0, 1.0]]),))
    again = recalibrated(table, calibrate_table(table))
    assert np.isfinite(again.heads[0].probabilities).all()
