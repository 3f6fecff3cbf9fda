"""The shape of the networks in plain Python: what a bundle must hold, known without any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_pacs.inference.efficientnet import EfficientNetLite0

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CONVENTIONS", "AnyArchitecture", "Architecture", "Block", "LungNetwork"]

EXPANSION = 4
_STEM = "conv1"
CONVENTIONS = ("whole", "aerated")
"""Channels of the network, by what the people who drew the masks meant: the whole lung, behind the heart and
where it is opaque too (V7 Labs); or its aerated part beside the heart (Montgomery, Shenzhen)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One bottleneck: 1x1, 3x3, 1x1 and a shortcut, which is projected in the first block of each stage.

    Attributes
    ----------
    name : str
        As Keras Applications names it, e.g. ``conv2_block1``.
    incoming, filters, stride : int
        Channels that enter, channels of the 3x3 convolution, and the step of the first convolution.
    projected : bool
        Whether the shortcut has a convolution of its own.
    """

    name: str
    incoming: int
    filters: int
    stride: int
    projected: bool

    @property
    def outgoing(self) -> int:
        """Channels that leave."""
        return EXPANSION * self.filters


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A residual network of the first version with linear heads on its averaged last feature map.

    Attributes
    ----------
    stages : tuple of int
        Bottlenecks in each stage; ResNet50 is ``(3, 4, 6, 3)``.
    width : int
        Channels of the stem; ResNet50 has 64.
    heads : tuple of (str, int)
        Name of each head and its number of classes.

    References
    ----------
    He et al., Deep Residual Learning for Image Recognition, CVPR 2016. Names, shapes and strides are those of
    ``keras.applications.ResNet50``, so that weights made for it fit.
    """

    stages: tuple[int, ...]
    width: int
    heads: tuple[tuple[str, int], ...]

    @property
    def stride(self) -> int:
        """Pixels of the input from one feature cell to the next."""
        return 2 << len(self.stages)

    @property
    def first_centre(self) -> tuple[float, float]:
        """Centre of the first feature cell from the top and from the left of the input, in cells.

        Every strided layer is padded evenly (stem, pool) or not at all (1x1), so its output 0 lies on its
        input 0: cell i sees the surroundings of pixel ``i * stride``, not of the middle of its stride.
        """
        return 0.5 / self.stride, 0.5 / self.stride

    @property
    def channels(self) -> int:
        """Channels of the last feature map."""
        return EXPANSION * self.width << (len(self.stages) - 1)

    def is_last(self, layer: str) -> bool:
        """Whether `layer` belongs to the last stage of the trunk."""
        return layer.startswith(f"conv{len(self.stages) + 1}_")

    def blocks(self) -> Iterator[Block]:
        """Every bottleneck, in the order of the pass."""
        incoming = self.width
        for stage, length in enumerate(self.stages):
            for position in range(length):
                block = Block(
                    name=f"conv{stage + 2}_block{position + 1}",
                    incoming=incoming,
                    filters=self.width << stage,
                    stride=2 if stage > 0 and position == 0 else 1,
                    projected=position == 0,
                )
                yield block
                incoming = block.outgoing

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name (``layer/weight``) and shape of every weight, as Keras lays them out."""
        shapes = _convolution(_STEM, (7, 7, 3, self.width))
        for block in self.blocks():
            inner, outgoing = block.filters, block.outgoing
            if block.projected:
                shapes |= _convolution(f"{block.name}_0", (1, 1, block.incoming, outgoing))
            shapes |= _convolution(f"{block.name}_1", (1, 1, block.incoming, inner))
            shapes |= _convolution(f"{block.name}_2", (3, 3, inner, inner))
            shapes |= _convolution(f"{block.name}_3", (1, 1, inner, outgoing))
        for head, classes in self.heads:
            shapes |= {f"{head}/kernel": (self.channels, classes), f"{head}/bias": (classes,)}
        return shapes


AnyArchitecture = Architecture | EfficientNetLite0
"""What can be fitted."""


def _convolution(name: str, kernel: tuple[int, int, int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of a convolution with bias and of the batch normalisation behind it."""
    channels = kernel[-1:]
    return {
        f"{name}_conv/kernel": kernel,
        f"{name}_conv/bias": channels,
        f"{name}_bn/gamma": channels,
        f"{name}_bn/beta": channels,
        f"{name}_bn/moving_mean": channels,
        f"{name}_bn/moving_variance": channels,
    }


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
