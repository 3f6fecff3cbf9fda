"""A network that learns what teachers say, whatever the labels say."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from packed_films import STAGES, packed_films, small_plan

from cxr_pacs.inference.network import build_network, write_weights
from training.distillation import Distillation
from training.loop import Fit, logits
from training.recipe import HEADS

LABELS = HEADS["multiclass"]
RNG = np.random.default_rng


class Brightness:
    """Says the class by the brightness alone, with a logit of `sure`."""

    def __init__(self, sure=6.0, size=24):
        self.sure, self.size, self.shown = sure, size, []

    def logits(self, images):
        self.shown.append(images.shape)
        bright = images.mean(axis=(1, 2))
        number = np.digitize(bright, (80 / 255, 165 / 255))
        rows = self.sure * np.eye(3, dtype=np.float32)[number]
        return {"multiclass": rows, "binary": rows[:, :2]}


def task(*teachers):
    films = packed_films().split("train")
    return films, Distillation(films, small_plan(), teachers)


def test_targets_are_softened_probabilities_of_what_the_teacher_saw():
    teacher = Brightness()
    _, distillation = task(teacher)
    images, targets = distillation.draw(STAGES[0], RNG(1))
    assert images.shape == (8, 16, 16)
    assert teacher.shown == [(8, 24, 24)]
    np.testing.assert_allclose(targets["multiclass"].sum(axis=1), 1, rtol=1e-6)
    top = targets["multiclass"].max(axis=1)
    np.testing.assert_allclose(top, np.exp(3) / (np.exp(3) + 2), rtol=1e-5)  # 6 at temperature 2
    assert targets["inside"].shape == (8, 2, 2)


def test_a_film_outside_a_heads_labels_has_no_share_in_it():
    films, distillation = task(Brightness())
    rng = RNG(2)
    for _ in range(4):
        drawn = films.labels[distillation.drawn(RNG(rng.integers(1 << 30)))]
        assert set(drawn) <= set(LABELS)
    _, targets = distillation.draw(STAGES[0], RNG(3))
    normal = films.labels[distillation.drawn(RNG(3))] == "normal"
    assert normal.any()
    assert not normal.all()
    np.testing.assert_array_equal(targets["binary"].sum(axis=1) > 0.5, ~normal)


def test_teachers_of_several_sizes_are_averaged():
    small, large = Brightness(sure=2.0, size=16), Brightness(sure=6.0, size=32)
    _, distillation = task(small, large)
    _, targets = distillation.draw(STAGES[0], RNG(1))
    assert (small.shown, large.shown) == ([(8, 16, 16)], [(8, 32, 32)])
    np.testing.assert_allclose(targets["multiclass"].max(axis=1), np.exp(2) / (np.exp(2) + 2), rtol=1e-5)


def test_the_loss_is_least_where_the_network_agrees_with_the_teacher():
    _, distillation = task(Brightness())
    target = np.array([[0.9, 0.05, 0.05]], np.float32)
    agreeing = 2 * np.log(target)

    def loss(said):
        return float(distillation.entropy(*map(keras.ops.convert_to_tensor, (target, said))))

    for shift in np.eye(3, dtype=np.float32):
        for step in (-0.5, 0.5):
            assert loss(agreeing) < loss(agreeing + step * shift)


def test_the_teacher_outweighs_the_labels(tmp_path):
    films = packed_films().split("train")
    wrong = replace(films, labels=np.roll(films.labels, 1))
    plan = replace(small_plan(), stages=tuple(replace(stage, passes=6 * stage.passes) for stage in STAGES))
    weights = Fit(wrong, plan, tmp_path, Distillation(wrong, plan, [Brightness()])).weights(lambda _: None)
    network = build_network(plan.architecture, plan.mean, plan.deviation)
    write_weights(network, weights)
    judged = packed_films().split("val", "test")
    said = np.array(LABELS)[logits(network, judged.views, STAGES[-1].size)["multiclass"].argmax(axis=1)]
    assert (said == judged.labels).mean() > 0.8


@pytest.mark.parametrize("size", [24, 16])
def test_draws_depend_on_the_generator_alone(size):
    first, second = (task(Brightness(size=size))[1].draw(STAGES[1], RNG(5)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    for name, values in first[1].items():
        np.testing.assert_array_equal(values, second[1][name])
