"""The network and its optimiser in PyTorch's own kernels and layout: half as fast again as through Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from cxr_pacs.inference.network import FEATURES
from training.steppers import CLIP, KEEP, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import Block
    from training.steppers import Arrays

__all__ = ["STATISTICS", "TorchStepper"]

_EPSILON = 1.001e-5
_MOMENTUM = 0.01
STATISTICS = ("moving_mean", "moving_variance")


class TorchStepper:
    """See `training.steppers.Stepper`."""

    def __init__(self, setting: Setting, weights: Arrays) -> None:
        self._setting = setting
        self._blocks: tuple[Any, ...] = tuple(setting.architecture.blocks())
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._values = {name: self._inward(value) for name, value in weights.items()}
        moving = [
            name
            for name in weights
            if not name.endswith(STATISTICS) and setting.moves(name.partition("/")[0])
        ]
        self._moving = {name: self._values[name].requires_grad_() for name in moving}
        self._average = {name: value.detach().clone() for name, value in self._moving.items()}
        heads = [head for head, _ in setting.architecture.heads]
        self._shares = [setting.head_share if name.partition("/")[0] in heads else 1.0 for name in moving]
        groups = [
            {"params": [value], "weight_decay": setting.weight_decay if name.endswith("/kernel") else 0.0}
            for name, value in self._moving.items()
        ]
        self._optimizer = torch.optim.AdamW(groups, fused=True)
        self._taken = 0

    def step(self, images: NDArray[np.float32], targets: Arrays, rate: float) -> float:
        """One batch at learning rate `rate`; gives the loss."""
        for group, share in zip(self._optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        tensors = {name: torch.from_numpy(value).to(self._device) for name, value in targets.items()}
        outputs = self._forward(images, _MOMENTUM)
        kernels = {head: self._values[f"{head}/kernel"] for head, _ in self._setting.architecture.heads}
        loss = self._setting.objective(outputs, tensors, kernels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._moving.values(), CLIP, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._taken += 1
        keep = min(KEEP, (1 + self._taken) / (10 + self._taken))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), list(self._moving.values()), 1 - keep)
        return float(loss.item())

    def settle(self, batches: Iterable[NDArray[np.float32]]) -> None:
        """Become the average, with batch statistics taken anew over `batches`."""
        with torch.no_grad():
            for name, value in self._average.items():
                self._moving[name].copy_(value)
            for seen, images in enumerate(batches):
                self._forward(images, 1 / (seen + 1))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Copy the weights out, under ``layer/weight``."""
        return {name: _outward(value) for name, value in self._values.items()}

    def state(self) -> dict[str, NDArray[Any]]:
        """Optimiser and average."""
        entries = self._optimizer.state_dict()["state"]
        state = {
            f"{index}/{name}": value.cpu().numpy().copy()
            for index, entry in entries.items()
            for name, value in entry.items()
        }
        averages = {f"average/{name}": value.cpu().numpy().copy() for name, value in self._average.items()}
        return {"taken": np.array(self._taken), **state, **averages}

    def restore(self, state: Arrays) -> None:
        """Go on from `state`."""
        entries: dict[int, dict[str, Any]] = {}
        moving = list(self._moving.values())
        for key, value in state.items():
            first, _, name = key.partition("/")
            kept = torch.from_numpy(np.array(value))
            if first == "taken":
                self._taken = int(value)
            elif first == "average":
                self._average[name].copy_(kept)
            else:
                # The fused kernel goes through memory: moments must lie there as their weights do.
                laid = kept if kept.ndim == 0 else torch.empty_like(moving[int(first)]).copy_(kept)
                entries.setdefault(int(first), {})[name] = laid.detach()
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": entries})

    def _inward(self, value: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(value, np.float32)).to(self._device)
        if tensor.ndim == 4:
            return tensor.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        return tensor

    def _forward(self, images: NDArray[np.float32], momentum: float) -> dict[str, Any]:
        """Logits of every head and the features, [films, h, w, channels]."""
        setting = self._setting
        device, mean, deviation = self._device, setting.mean, setting.deviation
        pixels = torch.from_numpy(images).to(device)[:, None].expand(-1, 3, -1, -1)
        pixels = (pixels - torch.tensor(mean, device=device)[:, None, None]) / torch.tensor(
            deviation, device=device
        )[:, None, None]
        with self._precision():
            x = self._features(pixels.contiguous(memory_format=torch.channels_last), momentum)
        features = x.float().permute(0, 2, 3, 1)
        pooled = features.mean((1, 2))
        outputs = {
            head: pooled @ self._values[f"{head}/kernel"] + self._values[f"{head}/bias"]
            for head, _ in setting.architecture.heads
        }
        return {FEATURES: features, **outputs}

    def _precision(self) -> Any:
        return torch.autocast(self._device.type, torch.bfloat16)

    def _features(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        """Last feature map, [films, channels, h, w]."""
        x = functional.relu(self._convolve(x, "conv1", 2, 3, momentum))
        x = functional.max_pool2d(x, 3, 2, 1)
        for block in self._blocks:
            x = self._bottleneck(x, block, momentum)
        return x

    def _bottleneck(self, x: torch.Tensor, block: Block, momentum: float) -> torch.Tensor:
        name, stride = block.name, block.stride
        shortcut = self._convolve(x, f"{name}_0", stride, 0, momentum) if block.projected else x
        y = functional.relu(self._convolve(x, f"{name}_1", stride, 0, momentum))
        y = functional.relu(self._convolve(y, f"{name}_2", 1, 1, momentum))
        return functional.relu(shortcut + self._convolve(y, f"{name}_3", 1, 0, momentum))

    def _convolve(
        self, x: torch.Tensor, name: str, stride: int, padding: int, momentum: float
    ) -> torch.Tensor:
        values = self._values
        y = functional.conv2d(x, values[f"{name}_conv/kernel"], values[f"{name}_conv/bias"], stride, padding)
        return functional.batch_norm(
            y,
            *(values[f"{name}_bn/{statistic}"] for statistic in STATISTICS),
            values[f"{name}_bn/gamma"],
            values[f"{name}_bn/beta"],
            training=self._setting.moves(f"{name}_bn"),
            momentum=momentum,
            eps=_EPSILON,
        )


def _outward(value: torch.Tensor) -> NDArray[np.float32]:
    array = value.detach().cpu()
    return np.array((array.permute(2, 3, 1, 0) if array.ndim == 4 else array).numpy(), order="C")
