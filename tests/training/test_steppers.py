"""The same first steps on every backend of Keras that is installed, each in a process of its own."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
DEADLINE = 280


@pytest.fixture(scope="module")
def told():
    """What each backend tells; one process after the other, for they are heavy."""
    answers = {}
    for backend in BACKENDS:
        done = subprocess.run(
            [sys.executable, HERE / "stepper_probe.py"],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parents[1]))),
            },
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        answers[backend] = json.loads(done.stdout)
    return answers


def test_two_backends_at_least_are_compared():
    assert {"tensorflow", "jax"} <= set(BACKENDS)


def test_the_first_steps_are_the_same_on_all_backends(told):
    for one, other in itertools.combinations(told.values(), 2):
        first, second = np.array(one["losses"]), np.array(other["losses"])
        assert abs(first[0] - second[0]) <= 1e-2
        # In bfloat16 the signs of small gradients differ, and the first steps of Adam are signs.
        assert abs(first - second).max() <= 2e-2
        for name, values in one["settled"].items():
            tolerance = 1e-3 if name.endswith("kernel") else 0.2
            np.testing.assert_allclose(values, other["settled"][name], rtol=0.3, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_lower_the_loss(told, backend):
    losses = [*told[backend]["losses"], told[backend]["fourth"]]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_go_in_and_out_unchanged(told, backend):
    assert told[backend]["kept"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stepper_that_was_restored_takes_the_same_step(told, backend):
    answer = told[backend]
    assert answer["fourth again"] == answer["fourth"]
    assert answer["apart"] == 0
    assert answer["settled apart"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_thawed_stands_still_statistics_included(told, backend):
    assert told[backend]["moved"] == ["binary", "multiclass"]
