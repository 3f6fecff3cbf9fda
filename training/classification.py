"""What a classifier is fitted to: its batches and its objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np

from cxr_pacs.inference.network import FEATURES
from training.augment import augment
from training.recipe import HEADS, Plan, Stage
from training.splits import group_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.packed import Packed

    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["Classification"]

_INSIDE = "inside"


class Classification:
    """Every head's classes of augmented films, and activation maps that stay inside the lungs.

    Parameters
    ----------
    films : Packed
        The training split alone.
    plan : Plan
    """

    def __init__(self, films: Packed, plan: Plan) -> None:
        self._films, self._plan = films, plan
        self._chances = group_weights(films.labels.tolist(), films.sources.tolist())

    def draw(self, stage: Stage, rng: np.random.Generator) -> Batch:
        """Draw one batch: images float32 [batch, size, size], and each head's smoothed classes."""
        films = self._films
        drawn = rng.choice(len(films), self._plan.batch, p=self._chances)
        made = [augment(films.views[i], stage.size, stage.augmentation, rng) for i in drawn]
        targets = {
            head: _smoothed(films.labels[drawn], labels, stage.smoothing) for head, labels in HEADS.items()
        }
        cells = self._plan.architecture.stride
        targets[_INSIDE] = np.stack([_at_cells(lungs, cells) for _, lungs in made])
        return np.stack([image for image, _ in made]), targets

    def objective(
        self, stage: Stage, outputs: Mapping[str, Any], targets: Mapping[str, Any], kernels: Mapping[str, Any]
    ) -> Any:
        """Cross-entropy of every head, and the share of its positive activation maps outside the lungs."""
        ops = keras.ops
        loss = 0.0
        outside = 1.0 - targets[_INSIDE][..., None]
        for head in HEADS:
            target = targets[head]
            # A film outside a head's labels has a target of zeros and so no share in that head's loss.
            # Written out, because TensorFlow's own kernel gives it a gradient all the same.
            entropy = -ops.sum(target * ops.log_softmax(outputs[head], axis=-1))
            loss += entropy / ops.maximum(ops.sum(target), 1.0)
            # Maps as a bundle has them: what argues for a class more than for the others.
            centred = kernels[head] - ops.mean(kernels[head], axis=-1, keepdims=True)
            maps = ops.relu(ops.matmul(outputs[FEATURES], centred))
            astray = ops.sum(maps * outside, axis=(1, 2)) / (ops.sum(maps, axis=(1, 2)) + 1e-3)
            loss += stage.outside * ops.mean(astray)
        return loss


def _smoothed(truth: NDArray[np.str_], labels: tuple[str, ...], smoothing: float) -> NDArray[np.float32]:
    """Smoothed one-hot rows; zeros for a film whose label the head does not know."""
    hot = (truth[:, None] == np.array(labels)).astype(np.float32)
    known = hot.sum(axis=1, keepdims=True)
    rows = known * (hot * np.float32(1 - smoothing) + np.float32(smoothing / len(labels)))
    return np.asarray(rows, np.float32)


def _at_cells(mask: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Average the mask around the centre of each feature cell, pixel ``i * stride``."""
    side = -(-mask.shape[0] // stride)
    smooth = cv2.blur(mask, (stride, stride), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth[::stride, ::stride][:side, :side], np.float32)
