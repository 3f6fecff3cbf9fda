"""Keras' own ResNet50, as Keras itself makes and feeds it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras_files import save_weights, scramble
from radiographs import synthetic_chest

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.network import FEATURES, build_network, write_weights
from training.transfer import read_start

SIZE = 96
ARCHITECTURE = Architecture(stages=(3, 4, 6, 3), width=64, heads=(("binary", 2),))


@pytest.mark.parametrize("top", [False, True])
def test_our_network_sees_what_keras_network_sees(tmp_path, top):
    theirs = keras.applications.ResNet50(weights=None, include_top=top, input_shape=(SIZE, SIZE, 3))
    scramble(theirs)
    save_weights(theirs, tmp_path / "resnet50_weights.h5")
    start = read_start(tmp_path / "resnet50_weights.h5", ARCHITECTURE)
    assert (start.kind, start.size) == ("imagenet", None)

    film = synthetic_chest(SIZE, SIZE, 4)
    grey = np.stack([film * 255] * 3, axis=-1)[np.newaxis]
    trunk = keras.Model(theirs.input, theirs.get_layer("conv5_block3_out").output)
    expected = trunk.predict(keras.applications.resnet.preprocess_input(grey), verbose=0)
    ours = build_network(ARCHITECTURE, start.mean, start.deviation)
    write_weights(ours, start.complete(ARCHITECTURE, 0))
    found = ours.predict(film[np.newaxis], verbose=0)[FEATURES]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())
