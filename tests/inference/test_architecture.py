from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.network import FEATURES, build_network, read_weights, write_weights

RESNET50 = Architecture(stages=(3, 4, 6, 3), width=64, heads=(("binary", 2), ("multiclass", 3)))


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
    architecture = Architecture(stages=(1, 1, 1, 1), width=8, heads=(("binary", 2),))
    rng = np.random.default_rng(4)
    off = []
    for _ in range(4):
        network = random_network(architecture, rng)
        image = rng.random((size, size), np.float32)
        for cell in [(3, 3), (3, 5), (4, 4), (5, 3), (5, 5)]:
            stated = (np.array(cell) + architecture.first_centre) * architecture.stride
            off.append((seen_by(network, image, cell) - stated) / architecture.stride)
    assert network(image[np.newaxis])[FEATURES].shape[1:3] == (9, 9)
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.15)
