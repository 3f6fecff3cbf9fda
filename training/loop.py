"""Fits the network: a few stages, each with its own image size, length, learning rate and augmentation."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.bundle import pack_weights
from cxr_pacs.inference.network import build_network, read_weights, write_weights
from training.augment import Augmentation, augment
from training.corpus import Film, squash_all
from training.splits import group_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["HEADS", "RECIPE", "RESNET50", "Plan", "Stage", "describe", "fit", "logits"]

HEADS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}
RESNET50 = Architecture(
    stages=(3, 4, 6, 3), width=64, heads=tuple((head, len(labels)) for head, labels in HEADS.items())
)
MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_BATCH = 16
_WARM_UP = 0.08
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One cosine cycle: image `size` in pixels, `passes` over images, peak learning rate, label smoothing."""

    size: int
    passes: int
    learning_rate: float
    smoothing: float
    augmentation: Augmentation

    def rate(self, progress: float) -> float:
        """Learning rate after the share `progress` of the stage: a short warm-up, then half a cosine."""
        if progress < _WARM_UP:
            return self.learning_rate * progress / _WARM_UP
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


_STRONG = Augmentation(crop=0.25, turn=10, gamma=0.35, contrast=0.15)
_MILD = Augmentation(crop=0.12, turn=5, gamma=0.2, contrast=0.1)
RECIPE = (
    Stage(size=96, passes=11_000, learning_rate=5e-4, smoothing=0.1, augmentation=_STRONG),
    Stage(size=96, passes=10_000, learning_rate=2e-4, smoothing=0.1, augmentation=_STRONG),
    Stage(size=160, passes=6_000, learning_rate=2e-4, smoothing=0.05, augmentation=_MILD),
)


def describe(stages: Sequence[Stage]) -> str:
    """Say in one sentence how `fit` goes through `stages`."""
    passes = ", ".join(f"{s.passes} at {s.size} px with peak rate {s.learning_rate:g}" for s in stages)
    return (
        f"From random weights, AdamW in bfloat16, batches of {_BATCH} drawn evenly from groups of class and "
        f"source, small groups less often; cosine cycles of images passed: {passes}; averaged weights, batch "
        "statistics of the training films."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to fit: the architecture, the stages, the seed, and where checkpoints go."""

    architecture: Architecture
    stages: tuple[Stage, ...]
    seed: int
    out: Path


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # untyped
    """Batch normalisation in one kernel when training: a third faster on a CPU, same weights."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: FBT001
        """Normalise by the batch when training, by the moving statistics else."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


class _Group:
    """Some of the network's variables with their optimiser and the `factor` of its learning rate."""

    def __init__(self, variables: Sequence[keras.Variable], indices: Sequence[int], *, factor: float) -> None:
        self.indices = indices
        self.variables = [variables[i] for i in indices]
        self.factor = factor
        self.optimizer = keras.optimizers.AdamW(
            weight_decay=0.05, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(self.variables)


class _Trainer:
    """A network in bfloat16 with its optimiser and the moving average of its weights."""

    def __init__(self, architecture: Architecture) -> None:
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.network = build_network(architecture, MEAN, DEVIATION, normalisation=FusedBatchNormalization)
        keras.config.set_dtype_policy("float32")
        heads = {head for head, _ in architecture.heads}
        variables = self.network.trainable_variables
        in_head = [variable.path.partition("/")[0] in heads for variable in variables]
        self._groups = (
            _Group(variables, [i for i, head in enumerate(in_head) if not head], factor=1.0),
            # All pooled features are positive, so a head's weights move a logit together: 2048 steps at once.
            _Group(variables, [i for i, head in enumerate(in_head) if head], factor=0.1),
        )
        # One fused pass over all weights: as separate kernels it takes as long as the gradient itself.
        self._apply = tf.function(self._update, jit_compile=True)
        self._gradient = tf.function(self._differentiate, reduce_retracing=True)

    def step(self, images: NDArray[np.float32], targets: Weights, rate: float) -> float:
        """One batch; gives the loss."""
        for group in self._groups:
            group.optimizer.learning_rate.assign(rate * group.factor)
        gradients, loss = self._gradient(tf.constant(images), {h: tf.constant(t) for h, t in targets.items()})
        self._apply(gradients)
        return float(loss)

    def _differentiate(
        self, images: tf.Tensor, targets: Mapping[str, tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = self.network(images, training=True)
            # A film outside a head's labels has a target of zeros and so no share in that head's loss.
            loss = tf.add_n(
                [
                    tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(target, outputs[head]))
                    / tf.maximum(tf.reduce_sum(target), 1.0)
                    for head, target in targets.items()
                ]
            )
        return tape.gradient(loss, self.network.trainable_variables), loss

    def _update(self, gradients: Sequence[tf.Tensor]) -> None:
        for group in self._groups:
            group.optimizer.apply([gradients[i] for i in group.indices])

    def averaged(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Average the weights over the steps, with batch statistics taken anew over `images`."""
        live = read_weights(self.network)
        for group in self._groups:
            group.optimizer.finalize_variable_values(group.variables)
        norms = [layer for layer in self.network.layers if isinstance(layer, FusedBatchNormalization)]
        momentum = norms[0].momentum
        for seen, start in enumerate(range(0, len(images), 2 * _BATCH)):
            for layer in norms:
                layer.momentum = seen / (seen + 1)
            self.network(images[start : start + 2 * _BATCH], training=True)
        for layer in norms:
            layer.momentum = momentum
        average = read_weights(self.network)
        write_weights(self.network, live)
        return average


def fit(films: Sequence[Film], plan: Plan, initial: Weights | None = None) -> dict[str, NDArray[np.float32]]:
    """
    Fit the network on `films`.

    Parameters
    ----------
    films : sequence of Film
        The training split alone.
    plan : Plan
        After each stage its averaged weights lie in ``plan.out/stage-N.npz``.
    initial : mapping, optional
        Weights to start from; random ones else.

    Returns
    -------
    dict
        Averaged weights after the last stage, float32, under ``layer/weight``.
    """
    keras.utils.set_random_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    trainer = _Trainer(plan.architecture)
    if initial is not None:
        write_weights(trainer.network, initial)
    plan.out.mkdir(parents=True, exist_ok=True)
    chances = group_weights(films)
    weights: dict[str, NDArray[np.float32]] = {}
    for number, stage in enumerate(plan.stages, start=1):
        _run_stage(trainer, films, chances, stage, rng)
        weights = trainer.averaged(squash_all(rng.permutation(np.array(films, dtype=object)), stage.size))
        (plan.out / f"stage-{number}.npz").write_bytes(pack_weights(weights))
    return weights


def _run_stage(
    trainer: _Trainer,
    films: Sequence[Film],
    chances: NDArray[np.float64],
    stage: Stage,
    rng: np.random.Generator,
) -> None:
    steps = max(1, stage.passes // _BATCH)
    started, losses = time.monotonic(), []
    for step in range(steps):
        drawn = [films[i] for i in rng.choice(len(films), _BATCH, p=chances)]
        images = np.stack([augment(film.pixels, stage.size, stage.augmentation, rng) for film in drawn])
        targets = {head: _targets(drawn, labels, stage.smoothing) for head, labels in HEADS.items()}
        losses.append(trainer.step(images, targets, stage.rate((step + 1) / (steps + 1))))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            speed = (step + 1) * _BATCH / (time.monotonic() - started)
            line = {
                "size": stage.size,
                "step": step + 1,
                "of": steps,
                "loss": round(float(np.mean(losses[-50:])), 4),
            }
            _log.info(json.dumps(line | {"images_per_second": round(speed, 1)}))


def _targets(films: Sequence[Film], labels: Sequence[str], smoothing: float) -> NDArray[np.float32]:
    """Smoothed one-hot rows; zeros for a film whose label the head does not know."""
    hot = np.array([[film.label == label for label in labels] for film in films], dtype=np.float32)
    known = hot.sum(axis=1, keepdims=True)
    rows: NDArray[np.float32] = known * (hot * (1 - smoothing) + smoothing / len(labels))
    return rows


def logits(network: keras.Model, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Every head's logits of `images` float32 [films, n, n], computed one film at a time as when serving."""
    call = tf.function(lambda x: network(x, training=False), reduce_retracing=True)
    rows = [call(tf.constant(images[i : i + 1])) for i in range(len(images))]
    return {head: np.concatenate([row[head].numpy() for row in rows]) for head in HEADS}
