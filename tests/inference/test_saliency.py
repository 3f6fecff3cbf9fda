from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.network import FEATURES, build_network, read_weights, write_weights
from cxr_pacs.inference.saliency import activation_maps

finite = st.floats(-100, 100, width=32)


@given(arrays(np.float32, (3, 4, 5), elements=finite), arrays(np.float32, (5, 2), elements=finite))
def test_maps_lie_in_the_unit_interval_and_reach_one_or_are_zero(features, kernel):
    maps = activation_maps(features, kernel)
    assert maps.shape == (2, 3, 4)
    assert maps.dtype == np.float32
    assert ((maps >= 0) & (maps <= 1)).all()
    for cells in maps:
        assert cells.max() in {0, 1}


@pytest.mark.parametrize("head", ["binary", "multiclass"])
def test_the_map_is_grad_cam_of_the_logit(head):
    rng = np.random.default_rng(3)
    architecture = Architecture(stages=(1, 2), width=4, heads=(("binary", 2), ("multiclass", 3)))
    network = build_network(architecture, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    weights = {name: rng.normal(0, 0.4, w.shape) for name, w in read_weights(network).items()}
    weights |= {name: np.abs(array) + 0.5 for name, array in weights.items() if name.endswith("variance")}
    # All features are positive: of two opposite classes one has a map.
    weights[f"{head}/kernel"][:, -1] = -weights[f"{head}/kernel"][:, 0]
    write_weights(network, weights)
    image = tf.constant(rng.random((1, 64, 64)), tf.float32)

    features = network(image)[FEATURES]
    pooling, dense = network.get_layer("avg_pool"), network.get_layer(head)
    assert isinstance(dense, keras.layers.Dense)
    ours = activation_maps(features.numpy()[0], np.asarray(dense.kernel))
    for index in range(dense.units):
        with tf.GradientTape() as tape:
            tape.watch(features)
            logit = dense(pooling(features))[0, index]
        alphas = tape.gradient(logit, features).numpy()[0].mean(axis=(0, 1))
        cam = np.maximum((features.numpy()[0] * alphas).sum(axis=-1), 0)
        np.testing.assert_allclose(ours[index], cam / (cam.max() or 1), atol=1e-4)
    assert ours.any()
