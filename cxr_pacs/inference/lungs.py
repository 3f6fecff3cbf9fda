"""The lung segmentation network in Keras: a small U-Net over the whole picture."""

from __future__ import annotations

from typing import Any

import keras

from cxr_pacs.inference.architecture import CONVENTIONS, LungNetwork

__all__ = ["CONVENTIONS", "LungNetwork", "build_lung_network"]


def build_lung_network(layout: LungNetwork) -> keras.Model:
    """
    Lay out the network, untrained.

    Returns
    -------
    keras.Model
        From float32 [batch, size, size] of P-values in 0..1 to logits float32 [batch, size, size, 2], a
        channel for each of `CONVENTIONS`.
    """
    layers = keras.layers

    def twice(x: Any, name: str, width: int) -> Any:
        for part in "ab":
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}{part}_conv")(x)
            x = layers.BatchNormalization(name=f"{name}{part}_bn")(x)
            x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
        return x

    pixels = keras.Input((layout.size, layout.size), name="p_values")
    x = layers.Rescaling(4.0, -2.0, name="scaled")(keras.ops.expand_dims(pixels, -1))
    passed = []
    for level, width in enumerate(layout.widths):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = twice(x, f"down{level}", width)
        passed.append(x)
    for level, width in reversed(list(enumerate(layout.widths[:-1]))):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"enlarge{level}")(x)
        x = layers.Concatenate(name=f"join{level}")([x, passed[level]])
        x = twice(x, f"up{level}", width)
    return keras.Model(pixels, layers.Conv2D(len(CONVENTIONS), 1, dtype="float32", name="lungs")(x))
