"""EfficientNet-Lite0 and its optimiser in PyTorch's own kernels; see `training.torch_stepper`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from cxr_pacs.inference.efficientnet import STEM, TOP
from training.torch_stepper import STATISTICS, TorchStepper

__all__ = ["TorchLiteStepper"]

_EPSILON = 1e-3


class TorchLiteStepper(TorchStepper):
    """See `training.steppers.Stepper`."""

    def _features(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        x = self._layer(x, STEM, 2, momentum)
        for block in self._blocks:
            y = self._layer(x, f"{block.name}_expand", 1, momentum) if block.widens else x
            y = self._layer(y, f"{block.name}_deep", block.stride, momentum)
            y = self._linear(y, f"{block.name}_project", 1, momentum)
            x = x + y if block.shortcut else y
        return self._layer(x, TOP, 1, momentum)

    def _precision(self) -> Any:
        # Depthwise convolutions are slower in bfloat16 than in float32 on a CPU.
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda")

    def _layer(self, x: torch.Tensor, name: str, stride: int, momentum: float) -> torch.Tensor:
        return functional.relu6(self._linear(x, name, stride, momentum))

    def _linear(self, x: torch.Tensor, name: str, stride: int, momentum: float) -> torch.Tensor:
        kernel, groups = self._values[f"{name}_conv/kernel"], 1
        if name.endswith("_deep"):  # laid out as Keras does, a channel behind the other
            kernel, groups = kernel.transpose(0, 1), x.shape[1]
        y = functional.conv2d(_padded(x, kernel.shape[-1], stride), kernel, None, stride, 0, 1, groups)
        return functional.batch_norm(
            y,
            *(self._values[f"{name}_bn/{statistic}"] for statistic in STATISTICS),
            self._values[f"{name}_bn/gamma"],
            self._values[f"{name}_bn/beta"],
            training=self._setting.moves(f"{name}_bn"),
            momentum=momentum,
            eps=_EPSILON,
        )


def _padded(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad as Keras does for ``same``: more below and to the right where it cannot be even."""
    if kernel == 1:
        return x
    needed = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    (up, down), (left, right) = ((n // 2, n - n // 2) for n in needed)
    return functional.pad(x, (left, right, up, down))
