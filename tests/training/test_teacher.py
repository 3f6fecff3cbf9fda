"""A teacher is fitted by PyTorch, from weights in a file of PyTorch's, and teaches on its own films alone."""

# ruff: noqa: PLC0415 - PyTorch is an extra, and what needs it is imported where it is there

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from packed_films import packed_films
from tiny import make_tiny

from training import cli
from training.corpus import CorpusError
from training.packed import write_packed

needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is an extra")
DEADLINE = 280


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "films.npz"
    write_packed(packed_films(), path)
    return path


def refused(capsys, *arguments):
    assert cli.main([str(argument) for argument in arguments]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_no_other_backend_fits_a_teacher(packed, tmp_path, capsys):
    line = refused(capsys, "teach", "--packed", packed, "--run", tmp_path / "run")
    assert "KERAS_BACKEND=torch" in line
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_no_teacher_teaches_nobody(packed, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        assert cli.main(["fit", "--packed", str(packed), "--run", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    line = refused(
        capsys, "fit", "--packed", packed, "--run", tmp_path / "two", "--teacher", tmp_path / "one"
    )
    assert line == f"cxr-train: {tmp_path / 'one'} is no run of cxr-train teach"
    assert not (tmp_path / "two").exists()


def state():
    """Random weights as PyTorch's files of EfficientNet-Lite0 name and shape them."""
    import torch

    rng = np.random.default_rng(1)
    made, incoming = {}, 32

    def layer(convolution, norm, *shape):
        spread = np.sqrt(2 / np.prod(shape[1:]))
        made[f"{convolution}.weight"] = torch.from_numpy(rng.normal(0, spread, shape).astype(np.float32))
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            made[f"{norm}.{name}"] = torch.full(shape[:1], float(value))

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    stages = [(3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4)]
    number = 0
    for kernel, expansion, channels, count in [*stages, (3, 6, 320, 1)]:
        for _ in range(count):
            block, inner = f"_blocks.{number}", incoming * expansion
            if expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", inner, incoming, 1, 1)
            layer(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel, kernel)
            layer(f"{block}._project_conv", f"{block}._bn2", channels, inner, 1, 1)
            incoming, number = channels, number + 1
    layer("_conv_head", "_bn1", 1280, 320, 1, 1)
    return made


@pytest.fixture
def photographs(tmp_path):
    import torch

    torch.save(state(), tmp_path / "lite0.pth")
    return tmp_path / "lite0.pth"


def train(*arguments):
    """Run cxr-train as one process on PyTorch."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from training.cli import main; sys.exit(main())",
            *map(str, arguments),
        ],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        timeout=DEADLINE,
        text=True,
        check=False,
    )


@needs_torch
def test_a_teacher_is_fitted_taken_up_and_heard(packed, photographs, tmp_path):
    from training.run_folder import read_weights
    from training.teacher import Teacher

    run = tmp_path / "teacher"
    command = ("teach", "--packed", packed, "--run", run, "--weights", photographs, "--effort", "0.004")
    for _ in range(2):
        done = train(*command)
        assert done.returncode == 0, done.stderr
    settings = json.loads((run / "settings.json").read_text())
    assert settings["task"] == "teacher"
    (stage,) = settings["stages"]
    assert len((run / "log.jsonl").read_text().splitlines()) == 1, "the second time there was nothing to do"
    teacher = Teacher(read_weights(run), tuple(settings["mean"]), tuple(settings["deviation"]), stage["size"])
    images = np.random.default_rng(0).random((2, stage["size"], stage["size"]), np.float32)
    one, two = teacher.logits(images), teacher.logits(images[:1])
    assert {head: rows.shape for head, rows in one.items()} == {"binary": (2, 2), "multiclass": (2, 3)}
    np.testing.assert_allclose(one["multiclass"][:1], two["multiclass"], atol=1e-4)  # statistics stand still


@needs_torch
def test_a_teacher_of_other_films_is_refused(packed, photographs, tmp_path, capsys):
    run = tmp_path / "teacher"
    done = train(
        "teach",
        "--packed",
        packed,
        "--run",
        run,
        "--weights",
        photographs,
        "--effort",
        "0.004",
        "--fold",
        "1/3",
    )
    assert done.returncode == 0, done.stderr
    line = refused(capsys, "fit", "--packed", packed, "--run", tmp_path / "fit", "--teacher", run)
    assert line == f"cxr-train: the teacher {run} was fitted to other films: its fold differs"


@needs_torch
def test_the_layers_lie_where_the_file_says(photographs):
    from training.teacher import photographs as read

    weights = read(photographs)
    assert weights["stem/kernel"].shape == (3, 3, 3, 32)
    assert weights["block1_expand/kernel"].shape == (1, 1, 16, 96)
    assert weights["block3_deep/kernel"].shape == (5, 5, 1, 144)
    assert weights["block15_project/gamma"].shape == (320,)
    np.testing.assert_array_equal(
        weights["stem/kernel"][1, 2, 0], state()["_conv_stem.weight"].numpy()[:, 0, 1, 2]
    )


@needs_torch
@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_file_that_is_no_such_network_is_refused(content, tmp_path):
    from training.teacher import photographs as read

    path = tmp_path / "other.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"other\.pth holds no EfficientNet-Lite0"):
        read(path)
