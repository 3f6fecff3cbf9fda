"""EfficientNet-Lite0 in plain Python: what a bundle of it must hold, known without any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EfficientNetLite0", "InvertedBottleneck"]

STEM, TOP = "stem", "top"
_STEM_CHANNELS = 32
_STRIDES = 5  # halvings, in stem and blocks
# Kernel, stride of the first block, expansion, channels that leave, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertedBottleneck:
    """One block: 1x1 that widens (not in the first), depthwise, 1x1 that narrows, and a shortcut.

    Attributes
    ----------
    name : str
        ``block0`` to ``block15``.
    incoming, inner, outgoing : int
        Channels.
    kernel, stride : int
        Of the depthwise convolution.
    """

    name: str
    incoming: int
    inner: int
    outgoing: int
    kernel: int
    stride: int

    @property
    def widens(self) -> bool:
        """Whether there is a convolution before the depthwise one."""
        return self.inner > self.incoming

    @property
    def shortcut(self) -> bool:
        """Whether what came is added to what leaves."""
        return self.stride == 1 and self.incoming == self.outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientNetLite0:
    """A small network of inverted bottlenecks with linear heads on its averaged last feature map.

    Attributes
    ----------
    heads : tuple of (str, int)
        Name of each head and its number of classes.

    References
    ----------
    Tan, Le, EfficientNet, ICML 2019; Lite: no squeeze-and-excitation, ReLU6 for the activation, stem and top
    never scaled (https://github.com/tensorflow/tpu, ``models/official/efficientnet/lite``).
    """

    heads: tuple[tuple[str, int], ...]

    @property
    def stride(self) -> int:
        """Pixels of the input from one feature cell to the next."""
        return 1 << _STRIDES

    @property
    def first_centre(self) -> tuple[float, float]:
        """Centre of the first feature cell from the top and from the left of the input, in cells.

        Each strided layer is padded more below and to the right, so its output i looks at its input 2i + 1,
        and after five of them cell i sees the surroundings of pixel 32i + 31. So it is where the side of the
        input is a multiple of `stride`, as a manifest demands.
        """
        centre = (self.stride - 0.5) / self.stride
        return centre, centre

    @property
    def channels(self) -> int:
        """Channels of the last feature map."""
        return 1280

    def is_last(self, layer: str) -> bool:
        """Whether `layer` belongs to the last stage of the trunk."""
        return layer.startswith(("block15_", f"{TOP}_"))

    def blocks(self) -> Iterator[InvertedBottleneck]:
        """Every block, in the order of the pass."""
        number, incoming = 0, _STEM_CHANNELS
        for kernel, stride, expansion, channels, count in _STAGES:
            for position in range(count):
                yield InvertedBottleneck(
                    name=f"block{number}",
                    incoming=incoming,
                    inner=incoming * expansion,
                    outgoing=channels,
                    kernel=kernel,
                    stride=stride if position == 0 else 1,
                )
                number, incoming = number + 1, channels

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name (``layer/weight``) and shape of every weight, as Keras lays them out."""
        shapes = _convolution(STEM, (3, 3, 3, _STEM_CHANNELS))
        incoming = _STEM_CHANNELS
        for block in self.blocks():
            if block.widens:
                shapes |= _convolution(f"{block.name}_expand", (1, 1, block.incoming, block.inner))
            deep = (block.kernel, block.kernel, block.inner, 1)
            shapes |= _convolution(f"{block.name}_deep", deep, channels=block.inner)
            shapes |= _convolution(f"{block.name}_project", (1, 1, block.inner, block.outgoing))
            incoming = block.outgoing
        shapes |= _convolution(TOP, (1, 1, incoming, self.channels))
        for head, classes in self.heads:
            shapes |= {f"{head}/kernel": (self.channels, classes), f"{head}/bias": (classes,)}
        return shapes


def _convolution(
    name: str, kernel: tuple[int, int, int, int], channels: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Shapes of a convolution without bias and of the batch normalisation behind it."""
    shape = (kernel[-1] if channels is None else channels,)
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{name}_conv/kernel": kernel, **{f"{name}_bn/{part}": shape for part in parts}}
