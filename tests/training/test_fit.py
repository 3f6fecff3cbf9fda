from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from packed_films import ARCHITECTURE, LABELS, MILD, STAGES, packed_films, small_plan

from cxr_pacs.inference.network import FEATURES, build_network, write_weights
from training.loop import Fit, logits, served
from training.recipe import HEADS, RECIPE, TRANSFER, describe, stretched

HERE = Path(__file__).parent
DEADLINE = 200
STEPS = 20  # of the small plan: six epochs and four, of two steps each


@pytest.fixture(scope="module")
def films():
    return packed_films()


@pytest.fixture(scope="module")
def undisturbed(films, tmp_path_factory):
    """Run folder, weights and what was reported."""
    run, told = tmp_path_factory.mktemp("undisturbed"), []
    return run, Fit(films.split("train"), small_plan(), run).weights(told.append), told


def loss(weights, films):
    """Cross-entropy of the multiclass head on the validation films."""
    plan = small_plan()
    network = build_network(plan.architecture, plan.mean, plan.deviation)
    write_weights(network, weights)
    judged = films.split("val")
    said = logits(network, judged.views, STAGES[-1].size)["multiclass"]
    truth = np.array([LABELS.index(label) for label in judged.labels])
    powers = said - np.log(np.exp(said).sum(axis=1, keepdims=True))
    return float(-powers[np.arange(len(truth)), truth].mean())


def test_a_fit_killed_anywhere_ends_as_if_nothing_had_been(films, undisturbed, tmp_path):
    step = random.SystemRandom().randint(1, STEPS)
    killed = subprocess.run(
        [sys.executable, HERE / "fit_worker.py", tmp_path, str(step)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1])))},
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    told = []
    weights = Fit(films.split("train"), small_plan(), tmp_path).weights(told.append)
    assert len(told) == (STEPS - step) // 2 + 1, f"killed at step {step}"
    expected = undisturbed[1]
    for name, value in weights.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=f"{name}, killed at {step}")
    assert loss(weights, films) == pytest.approx(loss(expected, films), abs=1e-3), f"killed at step {step}"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        (line["stage"], line["epoch"]) for line in undisturbed[2]
    ]


def test_a_fit_that_is_done_is_not_done_again(films, undisturbed):
    told = []
    weights = Fit(films.split("train"), small_plan(), undisturbed[0]).weights(told.append)
    assert not told
    for name, value in weights.items():
        np.testing.assert_array_equal(value, undisturbed[1][name])


def test_every_epoch_is_reported_and_logged(undisturbed):
    run, _, told = undisturbed
    assert [(line["stage"], line["epoch"], line["of"], line["size"]) for line in told] == [
        (stage, epoch, of, size) for stage, of, size in ((1, 6, 16), (2, 4, 24)) for epoch in range(1, of + 1)
    ]
    assert [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] == told
    assert all(np.isfinite(line["loss"]) for line in told)
    assert not (run / "checkpoint.new").exists()


@pytest.mark.parametrize(
    ("thawed", "moving"),
    [
        ("heads", {"binary", "multiclass"}),
        ("last", {"binary", "multiclass", "conv3_block1_1_bn", "conv3_block1_2_conv"}),
        ("all", {"binary", "multiclass", "conv1_conv", "conv2_block1_1_bn", "conv3_block1_2_conv"}),
    ],
)
def test_what_a_stage_moves(films, tmp_path, thawed, moving):
    moves = Fit(films, small_plan(), tmp_path)._setting(replace(STAGES[0], thawed=thawed)).moves
    layers = {name.partition("/")[0] for name in ARCHITECTURE.weight_shapes()}
    assert moving <= layers
    moved = {layer for layer in layers if moves(layer)}
    assert moving <= moved
    assert (moved == layers) == (thawed == "all")
    assert ("conv2_block1_1_conv" in moved) == (thawed == "all")


def objective(films, tmp_path, stage, outputs, targets, kernels):
    setting = Fit(films, small_plan(), tmp_path)._setting(stage)
    as_tensors = (
        {name: keras.ops.convert_to_tensor(a) for name, a in arrays.items()}
        for arrays in (outputs, targets, kernels)
    )
    return float(setting.objective(*as_tensors))


def scene(bright):
    """Features that light up in the cells `bright`, of a film whose lungs are the left half."""
    features = np.zeros((2, 4, 4, 3), np.float32)
    features[:, bright[0], bright[1]] = 1
    inside = np.zeros((2, 4, 4), np.float32)
    inside[..., :2] = 1
    truths = {head: np.eye(len(labels), dtype=np.float32)[:2] for head, labels in HEADS.items()}
    outputs = {FEATURES: features} | {
        head: np.zeros((2, len(labels)), np.float32) for head, labels in HEADS.items()
    }
    # Every channel argues for the first class, and so against the others.
    kernels = {head: np.eye(len(labels), dtype=np.float32)[[0, 0, 0]] for head, labels in HEADS.items()}
    return outputs, {**truths, "inside": inside}, kernels


def test_maps_outside_the_lungs_cost_and_maps_inside_do_not(films, tmp_path):
    stage = replace(STAGES[0], outside=0.5)
    inner, half, outer = (
        objective(films, tmp_path, stage, *scene(bright))
        for bright in (
            (slice(None), slice(0, 2)),
            (slice(None), slice(None)),
            (slice(None), slice(2, 4)),
        )
    )
    without = objective(films, tmp_path, replace(stage, outside=0.0), *scene((slice(None), slice(2, 4))))
    assert inner == pytest.approx(without, abs=1e-5)
    classes_with_a_map = sum(1 / len(labels) for labels in HEADS.values())
    assert half - inner == pytest.approx(0.5 * 0.5 * classes_with_a_map, abs=1e-3)
    assert outer - inner == pytest.approx(0.5 * classes_with_a_map, abs=1e-3)


def test_what_argues_for_all_classes_alike_has_no_map(films, tmp_path):
    outputs, targets, kernels = scene((slice(None), slice(2, 4)))
    shifted = {head: kernel + 3 for head, kernel in kernels.items()}
    losses = [objective(films, tmp_path, STAGES[0], outputs, targets, some) for some in (kernels, shifted)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_film_that_a_head_does_not_know_has_no_share_in_its_loss(films, tmp_path):
    stage = replace(STAGES[0], outside=0.0)
    outputs, targets, kernels = scene((slice(None), slice(0, 2)))
    targets["binary"][1] = 0
    before = objective(films, tmp_path, stage, outputs, targets, kernels)
    outputs["binary"][1] = (5, -5)
    assert objective(films, tmp_path, stage, outputs, targets, kernels) == pytest.approx(before, abs=1e-6)
    outputs["binary"][0] = (5, -5)
    assert objective(films, tmp_path, stage, outputs, targets, kernels) < before - 0.1


def test_batches_depend_on_seed_and_place_alone(films, tmp_path):
    def drawn(seed, place):
        fit = Fit(films.split("train"), small_plan(seed), tmp_path)
        return [(images, targets["inside"]) for images, targets in fit._batches(STAGES[0], place)]

    first, again = drawn(4, (0, 2)), drawn(4, (0, 2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    for other in (drawn(4, (0, 3)), drawn(4, (1, 2)), drawn(5, (0, 2))):
        assert (other[0][0] != first[0][0]).any()
    assert len(first) == small_plan().steps(STAGES[0])
    assert first[0][0].shape == (8, 16, 16)
    assert first[0][1].shape == (8, 2, 2)


def test_films_are_served_blank_where_nothing_is_visible(films):
    views = films.views[:3].copy()
    views[:, :, :16, 1] = 0
    shown = served(views, 32)
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(shown[:, :, :16], 0.5)
    np.testing.assert_allclose(shown[:, :, 16:], views[:, :, 16:, 0] / 255, atol=1e-6)
    assert served(views, 8).shape == (3, 8, 8)


@pytest.mark.parametrize("stage", [*RECIPE, *TRANSFER, *STAGES])
def test_the_rate_warms_up_and_falls_to_nothing(stage):
    rates = [stage.rate(progress / 200) for progress in range(201)]
    peak = int(np.argmax(rates))
    assert 0 < peak < 40
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(stage.learning_rate, rel=1e-2)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_effort_stretches_every_stage():
    assert [stage.passes for stage in stretched(STAGES, 0.5)] == [48, 32]
    assert [stage.passes for stage in stretched(STAGES, 1e-9)] == [1, 1]
    plan = small_plan()
    assert [plan.epochs(stage) for stage in plan.stages] == [6, 4]
    least = stretched(STAGES, 1e-9)[0]
    assert (plan.steps(least), plan.epochs(least)) == (1, 1)


def test_a_plan_is_told_in_words():
    said = describe(replace(small_plan(), stages=(*STAGES, replace(STAGES[0], thawed="heads"))))
    assert said.startswith("From random weights")
    for words in ("batches of 8", "96 at 16 px", "64 at 24 px", "moving heads"):
        assert words in said
    assert MILD.scaled(2).degrade == pytest.approx(0.2)
