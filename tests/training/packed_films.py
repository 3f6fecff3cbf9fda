"""A packed corpus whose class is its brightness, and a plan that learns it in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cxr_pacs.inference.architecture import Architecture
from training.augment import Augmentation
from training.packed import Packed
from training.recipe import HEADS, Plan, Stage, from_nothing

ARCHITECTURE = Architecture(
    stages=(1, 1), width=4, heads=tuple((head, len(labels)) for head, labels in HEADS.items())
)
MILD = Augmentation(stretch=0.05, turn=3, shift=0.02, gamma=0.05, contrast=0.02, degrade=0.1, edge=0.2)
STAGES = (
    Stage(size=16, passes=96, learning_rate=3e-3, smoothing=0.05, augmentation=MILD, outside=0.1),
    Stage(size=24, passes=64, learning_rate=2e-3, smoothing=0.0, augmentation=MILD, outside=0.3),
)
LABELS = HEADS["multiclass"]


def packed_films(count: int = 72, side: int = 32) -> Packed:
    """Bright, grey and dark films with lungs in two halves; two films of each patient, three splits."""
    rng = np.random.default_rng(7)
    numbers = np.arange(count)
    views = np.zeros((count, side, side, 3), np.uint8)
    for number in numbers:
        views[number, ..., 0] = rng.normal((40, 120, 210)[number % 3], 10, (side, side)).clip(0, 255)
    views[..., 1] = 255
    views[:, side // 4 : -side // 4, 2 : side // 2 - 2, 2] = 255
    views[:, side // 4 : -side // 4, side // 2 + 2 : -2, 2] = 255
    return Packed(
        views=views,
        files=np.array([f"{number}.png" for number in numbers]),
        patients=np.array([f"p{number // 6}-{number % 3}" for number in numbers]),
        labels=np.array(LABELS)[numbers % 3],
        sources=np.array(["here", "there"])[numbers // 3 % 2],
        splits=np.array(["train", "train", "val", "test"])[numbers // 6 % 4],
        cohorts=np.array(["adult", "paediatric"])[numbers // 3 % 2],
    )


def small_plan(seed: int = 4) -> Plan:
    """Plan of a fit of two stages: six epochs, then four, of two steps each."""
    return replace(
        from_nothing(1.0, seed), architecture=ARCHITECTURE, stages=STAGES, batch=8, epoch=16, start=None
    )
