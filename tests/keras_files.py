"""Files as Keras 1 and 2 wrote them, of the networks that a fit may start from."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from radiographs import synthetic_chest

__all__ = ["deepcovid", "save_weights", "scramble"]


def deepcovid(size: int, *, nested: bool):
    """DeepCOVID-XR's ResNet50, every weight drawn at random, batch statistics as well.

    Its structure is that of ``covid_models/Resnet_model.py`` in https://github.com/IVPLatNU/DeepCovidXR, or
    the same with the trunk as a model within the model.
    """
    import keras  # noqa: PLC0415 - slow

    layers = keras.layers
    trunk = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(size, size, 3))
    inputs = keras.Input((size, size, 3)) if nested else trunk.input
    x = trunk(inputs) if nested else trunk.output
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="last")(x))
    scramble(network)
    _spread(network, keras.Model(inputs, x), size)
    return network


def _spread(network, pooled, size: int) -> None:
    """Set the head so that images of different kinds have scores apart, none of them near 0 or 1."""
    noise = np.random.default_rng(1).random((size, size))
    kinds = np.stack([np.stack([kind] * 3, axis=-1) for kind in (synthetic_chest(size, size, 1), noise)])
    features = pooled.predict((kinds - 0.45) / 0.225, verbose=0)
    kernel = np.random.default_rng(2).normal(size=(features.shape[1], 1))
    logits = features @ kernel
    scale = 2 / np.ptp(logits)
    network.get_layer("last").set_weights([kernel * scale, -scale * logits.mean(axis=0)])


def scramble(network) -> None:
    """Draw weights for which features neither vanish nor explode."""
    rng = np.random.default_rng(11)
    for weight in network.weights:
        name, shape = weight.path.rpartition("/")[2], weight.shape
        if name == "kernel":
            drawn = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif name == "gamma":
            drawn = rng.uniform(0.6, 0.9, shape)
        elif name == "moving_variance":
            drawn = rng.uniform(0.5, 2.0, shape)
        else:
            drawn = rng.normal(0, 0.02, shape)
        weight.assign(drawn.astype(np.float32))


def save_weights(network, path: Path) -> None:
    """Write weights alone, as Keras 2's ``save_weights`` did; Keras 3 reads such files and writes others."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = file.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            names = [f"{_within(weight.path, layer.name)}:0" for weight in weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                group[name] = np.asarray(weight)


def _within(path: str, layer: str) -> str:
    """``resnet50/conv1_conv/kernel`` and ``last/kernel`` as Keras 2 named them: the layer and its weight."""
    return "/".join(path.split("/")[-2:]) if "/" in path else f"{layer}/{path}"
