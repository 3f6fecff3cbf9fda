from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle
from cxr_pacs.inference.architecture import Architecture
from training.transfer import IMAGENET_DEVIATION, IMAGENET_MEAN, StartError, read_start

ARCHITECTURE = Architecture(stages=(2, 1), width=4, heads=(("binary", 2), ("multiclass", 3)))
TRUNK = Architecture(stages=(2, 1), width=4, heads=()).weight_shapes()
LAST = {"last/kernel": (32, 1), "last/bias": (1,)}


def drawn(shapes):
    rng = np.random.default_rng(2)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(path, weights, config=None, root="", nested="", name_of=None):
    """A file of Keras 2; with `nested`, all but the head lie in a model of that name."""
    by_group = {}
    for name, array in weights.items():
        layer = name.partition("/")[0]
        group = nested if nested and layer != "last" else layer
        by_group.setdefault(group, {})[name_of(name) if name_of else f"{name}:0"] = array
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        top = file.create_group(root) if root else file
        top.attrs["layer_names"] = [b"input_1", *(group.encode() for group in by_group)]
        top.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for group, arrays in by_group.items():
            made = top.create_group(group)
            made.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                made[name] = array
    return path


def old_name(layer):
    """Of the layers of ResNet50 before 2019."""
    if found := re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer):
        stage, block, part, kind = found.groups()
        branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[part]
        return f"{'res' if kind == 'conv' else 'bn'}{stage}{'abcdef'[int(block) - 1]}_branch{branch}"
    return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}.get(layer, layer)


def first_keras(name):
    """``bn2a_branch2a_running_std_1:0``: Keras 1 put layer and weight into one name."""
    layer, _, weight = name.partition("/")
    words = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
    return f"{layer}_{words.get(weight, weight)}_1:0"


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("nested", ["", "resnet50"])
@pytest.mark.parametrize("root", ["", "model_weights"])
def test_deepcovid_xr_is_known_by_its_head(tmp_path, nested, root):
    weights = drawn(TRUNK | LAST)
    start = read_start(write(tmp_path / "res.h5", weights, root=root, nested=nested), ARCHITECTURE)
    same(start.weights, weights)
    assert (start.kind, start.mean, start.deviation) == ("deepcovid-xr", IMAGENET_MEAN, IMAGENET_DEVIATION)
    assert start.size is None


@pytest.mark.parametrize("top", [{}, {"predictions/kernel": (32, 1000), "predictions/bias": (1000,)}])
def test_imagenet_s_own_weights_are_without_their_top_and_ask_for_its_means(tmp_path, top):
    weights = drawn(TRUNK | top)
    start = read_start(write(tmp_path / "imagenet.h5", weights), ARCHITECTURE)
    same(start.weights, {name: weights[name] for name in TRUNK})
    assert start.kind == "imagenet"
    grey = np.float64(128)  # in each of blue, green and red
    scaled = (grey / 255 - np.array(start.mean)) / np.array(start.deviation)
    np.testing.assert_allclose(scaled, grey - [103.939, 116.779, 123.68])


@pytest.mark.parametrize("name_of", [None, first_keras])
def test_the_names_of_older_versions_are_known(tmp_path, name_of):
    weights = drawn(TRUNK)
    old = {f"{old_name(n.partition('/')[0])}/{n.partition('/')[2]}": a for n, a in weights.items()}
    assert "bn2b_branch2c/moving_variance" in old
    old |= drawn({"fc1000/kernel": (32, 1000), "fc1000/bias": (1000,)})
    same(read_start(write(tmp_path / "old.h5", old, name_of=name_of), ARCHITECTURE).weights, weights)


def test_long_lists_of_names_may_come_in_pieces(tmp_path):
    weights = drawn(TRUNK)
    path = write(tmp_path / "long.h5", weights, nested="resnet50")
    with h5py.File(path, "r+") as file:
        group = file["resnet50"]
        names = list(group.attrs.pop("weight_names"))
        for piece in range(11):
            group.attrs[f"weight_names{piece}"] = names[6 * piece : 6 * piece + 6 if piece < 10 else None]
    same(read_start(path, ARCHITECTURE).weights, weights)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"conv2_block1_0_conv/kernel": None},
            "layer conv2_block1_0_conv has no kernel.*shape (1, 1, 4, 16)",
        ),
        (
            {"conv3_block1_2_conv/kernel": (1, 1, 8, 8)},
            "layer conv3_block1_2_conv does not fit: its kernel is (1, 1, 8, 8), the network needs (3, 3",
        ),
        ({"conv4_block1_1_conv/kernel": (1, 1, 32, 16)}, "layer conv4_block1_1_conv .* has no place"),
        (
            {"last/kernel": (32, 3)},
            "layer last does not fit: its kernel is (32, 3), the network needs (32, 1)",
        ),
        ({"last/bias": None}, "layer last has no bias"),
        ({"dense/kernel": (32, 5)}, "layer dense .* has no place"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_its_layer(tmp_path, change, problem):
    shapes = {name: shape for name, shape in (TRUNK | LAST | change).items() if shape is not None}
    problem = problem.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(StartError, match=rf"wrong\.h5: {problem}"):
        read_start(write(tmp_path / "wrong.h5", drawn(shapes)), ARCHITECTURE)


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def whole(*layers, size=224):
    shape = {"batch_input_shape": [None, size, size, 3]}
    return {"class_name": "Model", "config": {"layers": [layer("InputLayer", "input_1", **shape), *layers]}}


def test_a_whole_model_says_its_input_s_side(tmp_path):
    nested = {"class_name": "Model", "config": {"name": "resnet50", "layers": []}}
    path = write(tmp_path / "whole.h5", drawn(TRUNK | LAST), whole(nested, size=331), root="model_weights")
    assert read_start(path, ARCHITECTURE).size == 331


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (whole(layer("Lambda", "odd", function=["code", None, None])), "layer odd is a Lambda"),
        (whole(layer("Conv2D", "conv3_block1_1_conv", strides=[1, 1])), "conv3_block1_1_conv has strides"),
        (whole(layer("Conv2D", "conv3_block1_2_conv", strides=2)), "conv3_block1_2_conv has strides"),
        (whole(layer("Conv2D", "conv1_conv", strides=2, data_format="channels_first")), "channels first"),
        (whole(layer("Dense", "last", activation="softmax")), "layer last ends in 'softmax'"),
        ({"class_name": "Model"}, "model_config cannot be understood"),
        (whole(layer("InputLayer", "input_2"), size=None) | {"config": None}, "model_config cannot be"),
    ],
)
def test_a_model_that_computes_something_else_is_refused(tmp_path, config, problem):
    with pytest.raises(StartError, match=problem):
        read_start(write(tmp_path / "odd.h5", drawn(TRUNK | LAST), config), ARCHITECTURE)


def test_another_epsilon_moves_into_the_variance(tmp_path):
    weights = drawn(TRUNK)
    config = whole(layer("BatchNormalization", "conv1_bn", epsilon=1e-3))
    found = read_start(write(tmp_path / "epsilon.h5", weights, config), ARCHITECTURE).weights
    name = "conv1_bn/moving_variance"
    np.testing.assert_allclose(found[name] + 1.001e-5, weights[name] + 1e-3, atol=1e-7)
    same({n: a for n, a in found.items() if n != name}, {n: a for n, a in weights.items() if n != name})


def test_what_is_no_keras_file_is_refused(tmp_path):
    with pytest.raises(StartError, match=r"missing\.h5 cannot be read as HDF5"):
        read_start(tmp_path / "missing.h5", ARCHITECTURE)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(StartError, match=r"text\.h5 cannot be read as HDF5"):
        read_start(tmp_path / "text.h5", ARCHITECTURE)
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.create_group("layers")
    with pytest.raises(StartError, match=r"names no layers.*model\.save"):
        read_start(tmp_path / "new.h5", ARCHITECTURE)


@pytest.mark.parametrize(
    "kind", ["soft link", "external link", "external storage", "text", "infinite", "absent"]
)
def test_nothing_but_numbers_of_this_file_is_read(tmp_path, kind):
    path = write(tmp_path / "trick.h5", drawn(TRUNK))
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "r+") as file:
        group = file["conv1_bn"]["conv1_bn"]
        del group["gamma:0"]
        if kind == "soft link":
            group["gamma:0"] = h5py.SoftLink("/conv1_bn/conv1_bn/beta:0")
        elif kind == "external link":
            group["gamma:0"] = h5py.ExternalLink(str(path), "/conv1_bn/conv1_bn/beta:0")
        elif kind == "external storage":
            outside = [(str(tmp_path / "secret"), 0, 16)]
            group.create_dataset("gamma:0", (4,), np.float32, external=outside)
        elif kind == "text":
            group["gamma:0"] = "four"
        elif kind == "infinite":
            group["gamma:0"] = np.array([1, 1, 1, 1e300])
    with pytest.raises(StartError, match=r"trick\.h5.*gamma:0"):
        read_start(path, ARCHITECTURE)


def test_a_bundle_of_ours_is_a_start(tmp_path):
    bundle = load_bundle(write_toy_bundle(tmp_path / "toy"))
    start = read_start(bundle.path, bundle.manifest.architecture)
    assert (start.kind, start.size) == ("bundle", bundle.manifest.preprocessing.size)
    assert start.mean == bundle.manifest.preprocessing.mean
    same(start.complete(bundle.manifest.architecture, 0), dict(bundle.weights))
    with pytest.raises(StartError, match=r"layer conv1_conv does not fit: its kernel is \(7, 7, 3, 2\)"):
        read_start(bundle.path, ARCHITECTURE)


def test_heads_that_do_not_come_along_are_new(tmp_path):
    weights = drawn(TRUNK | LAST)
    start = read_start(write(tmp_path / "res.h5", weights), ARCHITECTURE)
    complete = start.complete(ARCHITECTURE, 5)
    assert {name: array.shape for name, array in complete.items()} == ARCHITECTURE.weight_shapes()
    same({name: complete[name] for name in TRUNK}, {name: weights[name] for name in TRUNK})
    assert 0 < abs(complete["multiclass/kernel"]).max() <= np.sqrt(6 / 35)
    assert not complete["multiclass/bias"].any()
    same(start.complete(ARCHITECTURE, 5), complete)
    assert (start.complete(ARCHITECTURE, 6)["binary/kernel"] != complete["binary/kernel"]).any()


def test_weights_are_completed_for_their_own_trunk_only(tmp_path):
    start = read_start(write(tmp_path / "res.h5", drawn(TRUNK)), ARCHITECTURE)
    with pytest.raises(StartError, match="It has no conv2_block3_1_conv/kernel"):
        start.complete(Architecture(stages=(3, 1), width=4, heads=()), 0)
