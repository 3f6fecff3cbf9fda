"""The network itself, in Keras: one forward pass gives every head's logits and the last feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cxr_pacs.inference.architecture import AnyArchitecture, Architecture, Block
from cxr_pacs.inference.efficientnet import STEM, TOP, EfficientNetLite0, InvertedBottleneck
from cxr_pacs.inference.ensemble import Ensemble, member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.ensemble import ServedArchitecture

__all__ = ["FEATURES", "build_network", "read_weights", "write_weights"]

FEATURES = "features"
"""Key of the last feature map among the network's outputs."""

# Other values would shift pretrained weights.
_EPSILON = 1.001e-5  # of keras.applications.ResNet50
_LITE_EPSILON = 1e-3


def build_network(
    architecture: ServedArchitecture,
    mean: Sequence[float],
    deviation: Sequence[float],
    *,
    normalisation: type[keras.layers.BatchNormalization] = keras.layers.BatchNormalization,
) -> keras.Model:
    """
    Lay out the network, untrained.

    Parameters
    ----------
    architecture : Architecture, EfficientNetLite0 or Ensemble
    mean, deviation : sequence of 3 float
        Subtracted from, then dividing the P-values of each of the three (equal) input channels.
    normalisation : type
        The layer that normalises batches; training may bring a faster one with the same weights.

    Returns
    -------
    keras.Model
        From float32 [batch, n, n] of P-values in 0..1, any n, to a dict: each head's logits float32
        [batch, classes] under its name, and the last feature map float32 [batch, h, w, channels] under
        `FEATURES`.
    """
    layers = keras.layers
    pixels = keras.Input((None, None), name="p_values")
    x = keras.ops.repeat(keras.ops.expand_dims(pixels, -1), 3, axis=-1)
    scale = [1 / d for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    x = layers.Rescaling(scale, offset, name="scaled")(x)
    if isinstance(architecture, Ensemble):
        names = [member(number) for number in range(1, architecture.members + 1)]
        features = [_both_ways(x, architecture.of, normalisation, name) for name in names]
        x = keras.ops.concatenate(features, axis=-1)
    else:
        x = _trunk(x, architecture, normalisation)
    features = layers.Activation("linear", dtype="float32", name=FEATURES)(x)
    pooled = layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(features)
    outputs = {FEATURES: features}
    for head, classes in architecture.heads:
        outputs[head] = layers.Dense(classes, dtype="float32", name=head)(pooled)
    return keras.Model(pixels, outputs)


def _both_ways(
    x: Any, architecture: AnyArchitecture, normalisation: type[keras.layers.BatchNormalization], name: str
) -> Any:
    """Append a trunk as a layer: mean features of films and of their mirror images, mirrored back."""
    scaled = keras.Input((None, None, 3))
    trunk = keras.Model(scaled, _trunk(scaled, architecture, normalisation), name=name)
    mirrored = keras.ops.flip(trunk(keras.ops.flip(x, axis=2)), axis=2)
    return (trunk(x) + mirrored) / 2


def _trunk(
    x: Any, architecture: AnyArchitecture, normalisation: type[keras.layers.BatchNormalization]
) -> Any:
    if isinstance(architecture, EfficientNetLite0):
        return _lite(x, architecture, normalisation)
    return _residual(x, architecture, normalisation)


def _residual(
    x: Any, architecture: Architecture, normalisation: type[keras.layers.BatchNormalization]
) -> Any:
    layers = keras.layers
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(architecture.width, 7, strides=2, name="conv1_conv")(x)
    x = normalisation(epsilon=_EPSILON, name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for block in architecture.blocks():
        x = _bottleneck(x, block, normalisation)
    return x


def _lite(
    x: Any, architecture: EfficientNetLite0, normalisation: type[keras.layers.BatchNormalization]
) -> Any:
    layers = keras.layers

    def convolve(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
        convolution = layers.Conv2D(
            filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
        )
        return normalisation(epsilon=_LITE_EPSILON, name=f"{name}_bn")(convolution(x))

    def rectify(x: Any, name: str) -> Any:
        return layers.Activation("relu6", name=f"{name}_relu")(x)

    def bottleneck(x: Any, block: InvertedBottleneck) -> Any:
        name, y = block.name, x
        if block.widens:
            y = rectify(convolve(y, f"{name}_expand", block.inner), f"{name}_expand")
        deep = layers.DepthwiseConv2D(
            block.kernel, block.stride, padding="same", use_bias=False, name=f"{name}_deep_conv"
        )
        y = normalisation(epsilon=_LITE_EPSILON, name=f"{name}_deep_bn")(deep(y))
        y = convolve(rectify(y, f"{name}_deep"), f"{name}_project", block.outgoing)
        return layers.Add(name=f"{name}_add")([x, y]) if block.shortcut else y

    x = rectify(convolve(x, STEM, 32, 3, 2), STEM)
    for block in architecture.blocks():
        x = bottleneck(x, block)
    return rectify(convolve(x, TOP, architecture.channels), TOP)


def _bottleneck(x: Any, block: Block, normalisation: type[keras.layers.BatchNormalization]) -> Any:
    """Append one bottleneck to `x`; the stride sits in the first 1x1, as in the network's first version."""

    def convolve(x: Any, part: int, filters: int, kernel: int, stride: int) -> Any:
        name = f"{block.name}_{part}"
        x = keras.layers.Conv2D(filters, kernel, stride, padding="same", name=f"{name}_conv")(x)
        # Untrained, each block is its shortcut (Goyal et al. 2017): large first features made fits diverge.
        gamma = "zeros" if part == 3 else "ones"
        return normalisation(epsilon=_EPSILON, gamma_initializer=gamma, name=f"{name}_bn")(x)

    def rectify(x: Any, part: str) -> Any:
        return keras.layers.Activation("relu", name=f"{block.name}_{part}")(x)

    shortcut = convolve(x, 0, block.outgoing, 1, block.stride) if block.projected else x
    x = rectify(convolve(x, 1, block.filters, 1, block.stride), "1_relu")
    x = rectify(convolve(x, 2, block.filters, 3, 1), "2_relu")
    x = convolve(x, 3, block.outgoing, 1, 1)
    x = keras.layers.Add(name=f"{block.name}_add")([shortcut, x])
    return rectify(x, "out")


def read_weights(network: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Copy every weight out of `network`, under ``layer/weight``, as float32."""
    return {name: np.asarray(variable, dtype=np.float32) for name, variable in _variables(network)}


def write_weights(network: keras.Model, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set every weight of `network`; KeyError when one is missing, ValueError when a shape differs."""
    for name, variable in _variables(network):
        variable.assign(weights[name].astype(np.float32))


def _variables(network: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            for name, variable in _variables(layer):
                yield f"{layer.name}_{name}", variable
        else:
            for variable in layer.weights:
                yield f"{layer.name}/{variable.name}", variable
