from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from packed_films import ARCHITECTURE, STAGES, packed_films, small_plan

from cxr_pacs.inference.network import FEATURES
from training.loop import Fit
from training.pretraining import Pretraining

FILMS = 6


@pytest.fixture(scope="module")
def films():
    return packed_films().split("train")


def loss(films, first, second):
    """Of two views of the same films, given the pooled features of each."""
    task = Pretraining(films, small_plan())
    features = np.concatenate([first, second])[:, None, None, :].astype(np.float32)
    return float(task.objective(STAGES[0], {FEATURES: keras.ops.convert_to_tensor(features)}, {}, {}))


def test_a_batch_shows_some_films_twice_each_time_changed_anew(films):
    plan = replace(small_plan(), batch=2 * FILMS)
    images, targets = Pretraining(films, plan).draw(STAGES[0], np.random.default_rng(1))
    assert images.shape == (2 * FILMS, STAGES[0].size, STAGES[0].size)
    assert images.dtype == np.float32
    assert targets == {}
    first, second = images[:FILMS], images[FILMS:]
    assert (first != second).any(axis=(1, 2)).all()
    # The class of these films is their brightness, which the change keeps nearly.
    np.testing.assert_allclose(first.mean(axis=(1, 2)), second.mean(axis=(1, 2)), atol=0.15)


def test_the_loss_is_that_of_the_paper(films):
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, FILMS, 4))
    expected = 25 * np.square(first - second).mean()
    for some in (first, second):
        covariance = np.cov(some, rowvar=False)
        spread = np.sqrt(np.diagonal(covariance) + 1e-4)
        expected += 25 / 2 * np.maximum(0, 1 - spread).mean()
        expected += (np.square(covariance).sum() - np.square(np.diagonal(covariance)).sum()) / 4
    assert loss(films, first, second) == pytest.approx(expected, rel=1e-4)


def test_features_that_say_the_same_of_all_films_cost(films):
    drawn = np.random.default_rng(4).normal(size=(FILMS, 4))
    apart = 3 * np.linalg.qr(drawn - drawn.mean(axis=0))[0]
    assert loss(films, apart, apart) == pytest.approx(0, abs=1e-3)
    same = np.ones((FILMS, 4))
    assert loss(films, same, same) > 20


def test_a_pretraining_moves_the_trunk(films, tmp_path):
    plan, told = small_plan(), []
    weights = Fit(films, plan, tmp_path, Pretraining(films, plan)).weights(told.append)
    assert len(told) == sum(plan.epochs(stage) for stage in plan.stages)
    assert all(np.isfinite(line["loss"]) for line in told)
    assert weights.keys() == ARCHITECTURE.weight_shapes().keys()
    # Untrained, the last normalisation of a block is nought.
    assert np.abs(weights["conv3_block1_3_bn/gamma"]).max() > 0
