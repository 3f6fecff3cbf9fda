"""Steps of the backend that KERAS_BACKEND names, from fixed weights on a fixed batch, told as JSON."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from packed_films import LABELS, STAGES, packed_films, small_plan

from cxr_pacs.inference.architecture import Architecture
from training.loop import Fit
from training.recipe import HEADS
from training.steppers import stepper

ARCHITECTURE = Architecture(
    stages=(1,), width=4, heads=tuple((head, len(labels)) for head, labels in HEADS.items())
)
SIZE, BATCH = 16, 12
RATE = 1e-3


def fixed_weights():
    rng = np.random.default_rng(2)
    weights = {}
    for name, shape in ARCHITECTURE.weight_shapes().items():
        if name.endswith("/kernel"):
            weights[name] = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)
        else:
            weights[name] = np.full(shape, float(name.endswith(("gamma", "variance"))), np.float32)
    return weights


def fixed_batch():
    rng = np.random.default_rng(3)
    numbers = np.arange(BATCH) % 3
    images = rng.normal((numbers[:, None, None] + 1) / 4, 0.05, (BATCH, SIZE, SIZE)).astype(np.float32)
    targets = {
        head: (np.array(LABELS)[numbers][:, None] == np.array(labels)).astype(np.float32)
        for head, labels in HEADS.items()
    }
    cells = -(-SIZE // ARCHITECTURE.stride)
    return images, {**targets, "inside": rng.random((BATCH, cells, cells), dtype=np.float32)}


def kept(arrays):
    """Write and read, as a checkpoint does."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    stream.seek(0)
    with np.load(stream) as archive:
        return {name: archive[name] for name in archive.files}


def distance(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def main():
    images, targets = fixed_batch()
    fit, start = (
        Fit(packed_films(), replace(small_plan(), architecture=ARCHITECTURE), Path("unused")),
        fixed_weights(),
    )
    setting = fit._setting(replace(STAGES[0], outside=0.3))

    moves = stepper(setting, start)
    told = {"kept": distance(moves.weights(), start)}
    told["losses"] = [moves.step(images, targets, RATE) for _ in range(3)]
    weights, state = kept(moves.weights()), kept(moves.state())
    told["fourth"] = moves.step(images, targets, RATE)

    again = stepper(setting, weights)
    again.restore(state)
    told["fourth again"] = again.step(images, targets, RATE)
    told["apart"] = distance(again.weights(), moves.weights())
    for one in (moves, again):
        one.settle([images, images[:6]])
    told["settled apart"] = distance(again.weights(), moves.weights())
    told["settled"] = {
        name: moves.weights()[name].ravel()[:4].tolist()
        for name in ("conv1_bn/moving_mean", "conv1_bn/moving_variance", "multiclass/kernel")
    }

    heads = stepper(fit._setting(replace(STAGES[0], thawed="heads")), start)
    heads.step(images, targets, RATE)
    heads.settle([images])
    told["moved"] = sorted(
        {name.partition("/")[0] for name, value in heads.weights().items() if (value != start[name]).any()}
    )
    json.dump(told, sys.stdout)


main()
