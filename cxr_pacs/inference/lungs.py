"""Where the lungs are: a small segmentation network over the whole picture, and what follows from its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CONVENTIONS", "LungNetwork", "build_lung_network", "clean_mask"]

CONVENTIONS = ("whole", "aerated")
"""Channels of the network, by what the people who drew the masks meant: the whole lung, behind the heart and
where it is opaque too (V7 Labs); or its aerated part beside the heart (Montgomery, Shenzhen)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LungNetwork:
    """Layout of the U-Net.

    Attributes
    ----------
    size : int
        Side of the input square, pixels; a multiple of ``2 ** (len(widths) - 1)``.
    widths : tuple of int
        Channels at each level, from full resolution down.

    References
    ----------
    Ronneberger, Fischer, Brox, U-Net, MICCAI 2015.
    """

    size: int
    widths: tuple[int, ...]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name (``layer/weight``) and shape of every weight, as Keras lays them out."""
        shapes: dict[str, tuple[int, ...]] = {}
        incoming = 1
        for level, width in enumerate(self.widths):
            shapes |= _twice(f"down{level}", incoming, width)
            incoming = width
        for level, width in reversed(list(enumerate(self.widths[:-1]))):
            shapes |= _twice(f"up{level}", incoming + width, width)
            incoming = width
        return shapes | {
            "lungs/kernel": (1, 1, incoming, len(CONVENTIONS)),
            "lungs/bias": (len(CONVENTIONS),),
        }


def _twice(name: str, incoming: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part, channels in (("a", incoming), ("b", width)):
        shapes[f"{name}{part}_conv/kernel"] = (3, 3, channels, width)
        for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}{part}_bn/{weight}"] = (width,)
    return shapes


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


def clean_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the two largest connected components of at least 2 % of the picture, and fill their holes."""
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    ranked = sitk.RelabelComponent(components, minimumObjectSize=max(1, round(0.02 * mask.size)))
    lungs = (ranked > 0) & (ranked <= 2)
    filled: NDArray[np.bool_] = sitk.GetArrayFromImage(sitk.BinaryFillhole(lungs)).astype(bool)
    return filled
