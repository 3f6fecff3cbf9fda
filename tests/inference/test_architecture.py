from __future__ import annotations

import keras

from cxr_pacs.inference.architecture import Architecture

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
