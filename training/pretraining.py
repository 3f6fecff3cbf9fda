"""Pretraining without classes: two changed views of a film shall have like features, and features vary.

Bardes, Ponce, LeCun, VICReg, ICLR 2022, on the pooled features themselves, with no expander to throw away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cxr_pacs.inference.network import FEATURES
from training.augment import augment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.packed import Packed
    from training.recipe import Plan, Stage

    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["Pretraining"]

_ALIKE, _VARIED, _APART = 25.0, 25.0, 1.0


class Pretraining:
    """Features of films whose classes nobody needs to know.

    Parameters
    ----------
    films : Packed
        Of patients in no validation or test split.
    plan : Plan
        A batch holds ``batch / 2`` films, each changed twice.
    """

    def __init__(self, films: Packed, plan: Plan) -> None:
        self._films, self._plan = films, plan

    def draw(self, stage: Stage, rng: np.random.Generator) -> Batch:
        """Draw one batch: the first changes of some films, then their second ones; no targets."""
        drawn = rng.choice(len(self._films), self._plan.batch // 2, replace=False)
        made = [
            augment(self._films.views[i], stage.size, stage.augmentation, rng)[0]
            for _ in range(2)
            for i in drawn
        ]
        return np.stack(made), {}

    def objective(
        self, stage: Stage, outputs: Mapping[str, Any], targets: Mapping[str, Any], kernels: Mapping[str, Any]
    ) -> Any:
        """Invariance, variance and covariance of the pooled features (equations 1 to 6 of the paper)."""
        del stage, targets, kernels
        ops = keras.ops
        pooled = ops.mean(outputs[FEATURES], axis=(1, 2))
        first, second = ops.split(pooled, 2)
        loss = _ALIKE * ops.mean(ops.square(first - second))
        for some in (first, second):
            centred = some - ops.mean(some, axis=0, keepdims=True)
            count, channels = some.shape
            spread = ops.sqrt(ops.mean(ops.square(centred), axis=0) * (count / (count - 1)) + 1e-4)
            loss += _VARIED / 2 * ops.mean(ops.relu(1.0 - spread))
            # The squared covariances, diagonal left out, from the smaller Gram matrix [films, films].
            gram = ops.matmul(centred, ops.transpose(centred)) / (count - 1)
            whole = ops.sum(ops.square(gram))
            own = ops.sum(ops.square(ops.sum(ops.square(centred), axis=0) / (count - 1)))
            loss += _APART * (whole - own) / channels
        return loss
