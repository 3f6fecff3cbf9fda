from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from cxr_pacs.inference.ensemble import Ensemble
from cxr_pacs.inference.network import FEATURES, build_network, read_weights, write_weights

HEADS = (("binary", 2), ("multiclass", 3))
RESNET50 = Architecture(stages=(3, 4, 6, 3), width=64, heads=HEADS)
LITE0 = EfficientNetLite0(heads=HEADS)


def test_resnet50_has_the_channels_and_stride_of_the_paper():
    assert (RESNET50.channels, RESNET50.stride) == (2048, 32)


def test_weights_are_named_and_shaped_as_in_keras_applications():
    reference = keras.applications.ResNet50(weights=None, include_top=False)
    theirs = {f"{layer.name}/{w.name}": tuple(w.shape) for layer in reference.layers for w in layer.weights}
    ours = RESNET50.weight_shapes()
    assert {name: shape for name, shape in ours.items() if "head" not in name and name in theirs} == theirs
    assert ours.keys() - theirs.keys() == {
        "binary/kernel",
        "binary/bias",
        "multiclass/kernel",
        "multiclass/bias",
    }


def test_lite0_is_the_network_that_was_published():
    """Layers and weights of ``efficientnet-lite0``: 4,652,008 trainable ones with its thousand classes."""
    shapes = EfficientNetLite0(heads=(("imagenet", 1000),)).weight_shapes()
    trainable = {name: shape for name, shape in shapes.items() if "moving" not in name}
    assert sum(int(np.prod(shape)) for shape in trainable.values()) == 4_652_008
    assert len(list(LITE0.blocks())) == 16
    network = build_network(LITE0, (0.5,) * 3, (0.5,) * 3)
    assert {name: array.shape for name, array in read_weights(network).items()} == LITE0.weight_shapes()
    features = network(np.zeros((1, 96, 96), np.float32))[FEATURES]
    assert features.shape == (1, 3, 3, LITE0.channels)


@pytest.mark.parametrize("architecture", [RESNET50, LITE0], ids=["resnet50", "lite0"])
def test_the_last_stage_is_what_gives_the_last_features(architecture):
    last = {name for name in architecture.weight_shapes() if architecture.is_last(name.partition("/")[0])}
    assert 0 < len(last) < len(architecture.weight_shapes()) / 2
    assert not any(name.startswith(("conv1_", "stem", "binary", "multiclass")) for name in last)


def random_network(architecture, rng):
    network = build_network(architecture, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    weights = read_weights(network)
    for name, array in weights.items():
        if name.endswith("kernel"):
            array[...] = rng.normal(0, np.sqrt(2 / np.prod(array.shape[:-1])), array.shape)
        if name.endswith("gamma"):
            array[...] = 1
    write_weights(network, weights)
    return network


def seen_by(network, image, cell):
    """Centre of the pixels on which a feature cell depends, by squared gradient: row and column, pixels."""
    pixels = tf.constant(image[np.newaxis])
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = tf.reduce_sum(network(pixels)[FEATURES][0, cell[0], cell[1]])
    power = tape.gradient(answer, pixels).numpy()[0].astype(np.float64) ** 2
    centres = np.arange(len(power)) + 0.5
    return np.array([power.sum(1) @ centres, power.sum(0) @ centres]) / power.sum()


@pytest.mark.parametrize("size", [288, 280], ids=["multiple-of-stride", "no-multiple"])
def test_a_cell_sees_the_surroundings_of_the_place_stated(size):
    look(Architecture(stages=(1, 1, 1, 1), width=8, heads=(("binary", 2),)), size, draws=4)


def test_so_does_one_of_lite0():
    look(LITE0, 288, draws=2)


def test_a_cell_of_an_ensemble_sees_both_sides_alike():
    whole = Ensemble(members=1, of=LITE0)
    assert whole.first_centre == (LITE0.first_centre[0], 0.5)
    look(whole, 288, draws=2)


def look(architecture, size, draws):
    rng = np.random.default_rng(4)
    off = []
    for _ in range(draws):
        network = random_network(architecture, rng)
        image = rng.random((size, size), np.float32)
        for cell in [(3, 3), (3, 5), (4, 4), (5, 3), (5, 5)]:
            stated = (np.array(cell) + architecture.first_centre) * architecture.stride
            off.append((seen_by(network, image, cell) - stated) / architecture.stride)
    assert network(image[np.newaxis])[FEATURES].shape[1:3] == (9, 9)
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.15)
