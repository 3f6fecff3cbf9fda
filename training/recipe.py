"""What to fit, and how: stages, rates, lengths, augmentation; no framework in sight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from cxr_pacs.inference.architecture import AnyArchitecture, Architecture
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from training.augment import Augmentation
from training.transfer import PLAIN_DEVIATION, PLAIN_MEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from training.transfer import Start

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = [
    "AUGMENTATION",
    "COMPACT",
    "DISTILLED",
    "HEADS",
    "LITE0",
    "NETWORKS",
    "RECIPE",
    "RESNET50",
    "TAUGHT",
    "TRANSFER",
    "Plan",
    "Stage",
    "describe",
    "stretched",
]

HEADS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}
_HEADS = tuple((head, len(labels)) for head, labels in HEADS.items())
RESNET50 = Architecture(stages=(3, 4, 6, 3), width=64, heads=_HEADS)
LITE0 = EfficientNetLite0(heads=_HEADS)
NETWORKS: Mapping[str, AnyArchitecture] = {"resnet50": RESNET50, "efficientnet-lite0": LITE0}
"""What can be fitted, by the name that a command gives it."""

_WARM_UP = 0.04
_BATCH, _EPOCH, _WEIGHT_DECAY = 16, 2000, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One cosine cycle.

    Attributes
    ----------
    size : int
        Side of the input, pixels.
    passes : int
        Images passed, in all epochs together.
    learning_rate : float
        At its peak.
    smoothing : float
        Of the labels, 0..1.
    augmentation : Augmentation
    outside : float
        Weight of the share of the positive activation map that lies outside the lungs, in the loss.
    thawed : str
        What moves: ``heads``, ``last`` (heads and the last stage of the trunk) or ``all``.
    """

    size: int
    passes: int
    learning_rate: float
    smoothing: float
    augmentation: Augmentation
    outside: float
    thawed: Literal["heads", "last", "all"] = "all"

    def rate(self, progress: float) -> float:
        """Learning rate after the share `progress` of the stage: a short warm-up, then half a cosine."""
        if progress < _WARM_UP:
            return self.learning_rate * progress / _WARM_UP
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A whole fit.

    Attributes
    ----------
    architecture : Architecture or EfficientNetLite0
    mean, deviation : tuple of 3 float
        Of the P-values, as the bundle will state them.
    stages : tuple of Stage
    batch : int
        Images a step.
    epoch : int
        Images between two checkpoints.
    weight_decay : float
    head_share : float
        Rate of the heads, as a share of the trunk's.
    seed : int
    start : mapping or None
        Weights to start from; random ones else.
    """

    architecture: AnyArchitecture
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    stages: tuple[Stage, ...]
    batch: int
    epoch: int
    weight_decay: float
    head_share: float
    seed: int
    start: Weights | None

    def steps(self, stage: Stage) -> int:
        """Count the steps of an epoch."""
        return max(1, min(self.epoch, stage.passes) // self.batch)

    def epochs(self, stage: Stage) -> int:
        """Epochs of a stage, at least one."""
        return max(1, round(stage.passes / (self.steps(stage) * self.batch)))


AUGMENTATION = Augmentation(
    stretch=0.18, turn=10, shift=0.06, gamma=0.35, contrast=0.2, degrade=0.25, edge=0.5
)
RECIPE = (
    Stage(size=96, passes=100_000, learning_rate=5e-4, smoothing=0.1, augmentation=AUGMENTATION, outside=0.3),
    Stage(
        size=192,
        passes=12_000,
        learning_rate=2e-4,
        smoothing=0.05,
        augmentation=AUGMENTATION.scaled(0.6),
        outside=0.6,
    ),
)
"""From random weights."""

TRANSFER = (
    replace(RECIPE[1], passes=3_000, learning_rate=1e-3, thawed="heads"),
    replace(RECIPE[1], passes=6_000, learning_rate=2e-4, thawed="last"),
    replace(RECIPE[1], passes=20_000, learning_rate=5e-5),
)
"""From weights that know pictures already: heads, then the last stage, then all, at falling rates."""


DISTILLED = (replace(RECIPE[0], passes=12_000, learning_rate=4e-4, augmentation=AUGMENTATION.scaled(0.8)),)
"""From what teachers say of each changed film."""

COMPACT = (
    Stage(
        size=160,
        passes=15_000,
        learning_rate=4e-4,
        smoothing=0.05,
        augmentation=AUGMENTATION.scaled(0.6),
        outside=0.1,
    ),
)
"""Of EfficientNet-Lite0, which knows photographs."""

TAUGHT = (
    "Targets are what networks that were fitted to the same films before, its teachers, say on average of "
    "each changed film."
)


def stretched(stages: Sequence[Stage], effort: float) -> tuple[Stage, ...]:
    """Make each stage `effort` times as long."""
    return tuple(replace(stage, passes=max(1, round(stage.passes * effort))) for stage in stages)


def from_nothing(effort: float, seed: int) -> Plan:
    """Plan a fit from random weights, `effort` times as long as the recipe."""
    return Plan(
        architecture=RESNET50,
        mean=PLAIN_MEAN,
        deviation=PLAIN_DEVIATION,
        stages=stretched(RECIPE, effort),
        batch=_BATCH,
        epoch=_EPOCH,
        weight_decay=_WEIGHT_DECAY,
        head_share=0.1,
        seed=seed,
        start=None,
    )


def from_start(start: Start, effort: float, seed: int) -> Plan:
    """Plan a fit from weights that know pictures, thawed in stages; whole at once after mere pretraining."""
    return replace(
        from_nothing(effort, seed),
        mean=start.mean,
        deviation=start.deviation,
        stages=stretched(RECIPE if start.kind == "pretraining" else TRANSFER, effort),
        start=start.complete(RESNET50, seed),
    )


def compact(start: Start, effort: float, seed: int) -> Plan:
    """Plan a fit of EfficientNet-Lite0 from weights that know photographs, or films; whole at once."""
    return replace(
        from_nothing(effort, seed),
        architecture=LITE0,
        mean=start.mean,
        deviation=start.deviation,
        stages=stretched(COMPACT, effort),
        head_share=1.0,
        start=start.complete(LITE0, seed),
    )


def describe(plan: Plan) -> str:
    """Say in one sentence how a fit goes through `plan`."""
    cycles = ", ".join(
        f"{s.passes} at {s.size} px with peak rate {s.learning_rate:g} moving {s.thawed}" for s in plan.stages
    )
    origin = "random weights" if plan.start is None else "given weights"
    return (
        f"From {origin}, AdamW, batches of {plan.batch} drawn evenly from groups of class and "
        f"source, small groups less often; cosine cycles of images passed: {cycles}; averaged weights, batch "
        "statistics of the training films."
    )
