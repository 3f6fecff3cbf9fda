from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.corpus import CorpusError
from training.objective import SPECIFICITY, judge, sensitivity_at

LABELS = ("covid19", "bacterial_pneumonia", "normal")
SCORES = st.integers(0, 12).map(lambda step: step / 12)


def column(count):
    return arrays.arrays(np.float64, count, elements=SCORES)


@st.composite
def judged(draw):
    """Labels with every class among them, and logits with ties."""
    truth = np.array([*LABELS, *draw(st.lists(st.sampled_from((*LABELS, "other")), max_size=20))])
    logits = draw(arrays.arrays(np.float32, (len(truth), 3), elements=st.integers(-4, 4).map(float)))
    return logits, truth


@given(st.integers(1, 12).flatmap(column), st.integers(1, 25).flatmap(column), SCORES)
def test_the_sensitivity_is_the_best_of_all_thresholds(positives, negatives, specificity):
    thresholds = [*positives, *negatives, 2.0]
    reached = [
        (positives >= threshold).mean()
        for threshold in thresholds
        if (negatives < threshold).mean() >= specificity - 1e-9
    ]
    assert sensitivity_at(specificity, positives, negatives) == pytest.approx(max(reached))


@given(judged())
def test_a_judgement_is_within_its_bounds_and_names_every_class(films):
    judgement = judge(*films, LABELS)
    assert tuple(judgement.sensitivities) == LABELS
    assert all(0 <= value <= 1 for value in judgement.sensitivities.values())
    assert 0 <= judgement.auroc <= 1
    assert judgement.worst <= judgement.value <= judgement.worst + 0.5


@given(judged(), st.integers(0, 2**32 - 1))
def test_sensitivity_comes_first_and_auroc_parts_the_even(films, seed):
    logits, truth = films
    other = np.random.default_rng(seed).normal(0, 3, logits.shape).astype(np.float32)
    one, two = judge(logits, truth, LABELS), judge(other, truth, LABELS)
    if one.worst != two.worst:
        assert (one.value < two.value) == (one.worst < two.worst)
    else:
        assert one.value - two.value == pytest.approx((one.auroc - two.auroc) / scale(truth), abs=1e-12)


def scale(truth):
    return max((truth == label).sum() for label in LABELS) ** 2 + 1


@given(judged(), st.randoms(use_true_random=False))
def test_the_order_of_the_films_and_labels_that_are_none_do_not_matter(films, random):
    logits, truth = films
    order = list(range(len(truth)))
    random.shuffle(order)
    known = np.isin(truth, LABELS)
    expected = judge(logits, truth, LABELS).value
    assert judge(logits[order], truth[order], LABELS).value == pytest.approx(expected, abs=1e-12)
    assert judge(logits[known], truth[known], LABELS).value == pytest.approx(expected, abs=1e-12)


def test_a_perfect_fit_is_worth_one_and_a_blind_one_next_to_nothing():
    truth = np.repeat(LABELS, 20)
    perfect = judge(np.repeat(np.eye(3), 20, axis=0) * 5, truth, LABELS)
    assert (perfect.worst, perfect.auroc) == (1.0, 1.0)
    blind = judge(np.zeros((60, 3)), truth, LABELS)
    assert (blind.worst, blind.auroc) == (0.0, 0.5)


def test_one_class_that_is_missed_is_not_hidden_by_the_others():
    truth = np.repeat(LABELS, 20)
    logits = np.repeat(np.eye(3), 20, axis=0) * 5
    logits[20:40] = logits[40:60]  # bacterial pneumonia looks normal
    judgement = judge(logits, truth, LABELS)
    assert judgement.sensitivities["covid19"] == 1
    assert judgement.worst == judgement.sensitivities["bacterial_pneumonia"] == 0
    assert SPECIFICITY == 0.90


def test_a_fit_that_came_to_nothing_is_worth_nothing():
    assert judge(np.full((3, 3), np.nan), np.array(LABELS), LABELS).value == 0


def test_a_class_without_films_is_told():
    with pytest.raises(CorpusError, match="none of normal"):
        judge(np.zeros((2, 3)), np.array(LABELS[:2]), LABELS)
