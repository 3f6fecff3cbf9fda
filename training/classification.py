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

    from cxr_pacs.inference.architecture import AnyArchitecture
    from training.packed import Packed

    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["INSIDE", "Classification", "at_cells"]

INSIDE = "inside"
"""Of the targets: the share of lung around each feature cell, float32 [films, cells, cells]."""


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
        films, drawn = self._films, self.drawn(rng)
        made = [augment(films.views[i], stage.size, stage.augmentation, rng) for i in drawn]
        targets = {
            head: _smoothed(films.labels[drawn], labels, stage.smoothing) for head, labels in HEADS.items()
        }
        targets[INSIDE] = np.stack([at_cells(lungs, self._plan.architecture) for _, lungs in made])
        return np.stack([image for image, _ in made]), targets

    def drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose a batch of films, int64 [batch]."""
        return rng.choice(len(self._films), self._plan.batch, p=self._chances)

    def objective(
        self, stage: Stage, outputs: Mapping[str, Any], targets: Mapping[str, Any], kernels: Mapping[str, Any]
    ) -> Any:
        """Cross-entropy of every head, and the share of its positive activation maps outside the lungs."""
        ops = keras.ops
        loss = 0.0
        outside = 1.0 - targets[INSIDE][..., None]
        for head in HEADS:
            loss += self.entropy(targets[head], outputs[head])
            # Maps as a bundle has them: what argues for a class more than for the others.
            centred = kernels[head] - ops.mean(kernels[head], axis=-1, keepdims=True)
            maps = ops.relu(ops.matmul(outputs[FEATURES], centred))
            astray = ops.sum(maps * outside, axis=(1, 2)) / (ops.sum(maps, axis=(1, 2)) + 1e-3)
            loss += stage.outside * ops.mean(astray)
        return loss

    def entropy(self, target: Any, logits: Any) -> Any:
        """Mean cross-entropy; a film outside a head's labels has a target of zeros and so no share in it."""
        ops = keras.ops
        # Written out, because TensorFlow's own kernel gives such a film a gradient all the same.
        return -ops.sum(target * ops.log_softmax(logits, axis=-1)) / ops.maximum(ops.sum(target), 1.0)


def _smoothed(truth: NDArray[np.str_], labels: tuple[str, ...], smoothing: float) -> NDArray[np.float32]:
    """Smoothed one-hot rows; zeros for a film whose label the head does not know."""
    hot = (truth[:, None] == np.array(labels)).astype(np.float32)
    known = hot.sum(axis=1, keepdims=True)
    rows = known * (hot * np.float32(1 - smoothing) + np.float32(smoothing / len(labels)))
    return np.asarray(rows, np.float32)


def at_cells(mask: NDArray[np.float32], architecture: AnyArchitecture) -> NDArray[np.float32]:
    """Average the square mask around the centre of each feature cell of `architecture`."""
    stride = architecture.stride
    cells = -(-mask.shape[0] // stride)
    smooth = cv2.blur(mask, (stride, stride), borderType=cv2.BORDER_REPLICATE)
    rows, columns = (
        np.floor((np.arange(cells) + first) * stride).astype(np.int64).clip(0, mask.shape[0] - 1)
        for first in architecture.first_centre
    )
    return np.asarray(smooth[np.ix_(rows, columns)], np.float32)
