"""Engines that read one thing of a radiograph, and films with lungs that they can be tried on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bright_engine import CLASSES, BrightEngine

from cxr_pacs.inference import Analysis, ClassScore, Findings, Saliency
from training.corpus import Film

LABELS = ("covid19", "bacterial_pneumonia", "normal")
SHAPE = (96, 120)
BRIGHTNESS = (0.2, 0.6, 0.8)
"""Of what a class is told by, in the order of `LABELS`."""


def lung_mask(shape=SHAPE):
    """Two lungs, upright ellipses side by side."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, np.bool_)
    for centre in (0.3, 0.7):
        mask |= ((x / shape[1] - centre) / 0.14) ** 2 + ((y / shape[0] - 0.5) / 0.32) ** 2 < 1
    return mask


class ReadingEngine:
    """Its scores follow the mean brightness of one part of the picture, its map is even over that part.

    It segments by a rule: what is a lung in `lung_mask` and not mid-grey is lung.
    """

    claims = ()

    def __init__(self, part, *, lungs=True, preprocessing="lung-fields-area-64"):
        self.part = part
        self.lungs = lungs
        self.identity = replace(BrightEngine.identity, preprocessing=preprocessing, classes=CLASSES)
        self.told = 0

    def analyse(self, picture):
        lungs = lung_mask(picture.shape) & (picture != 0.5) if self.lungs else None
        return replace(self._read(picture), lungs=lungs)

    def analyse_within(self, picture, fields):
        self.told += 1
        assert fields.cells.any()
        return self._read(picture)

    def _read(self, picture):
        assert picture.dtype == np.float32
        part = self.part(picture.shape)
        near = -((float(picture[part].mean()) - np.array(BRIGHTNESS)) ** 2) * 200
        shares = np.exp(near - near.max())
        shares /= shares.sum()
        scores = tuple(
            ClassScore(head="multiclass", label=label, score=float(share), threshold=0.5)
            for label, share in zip(LABELS, shares, strict=True)
        )
        # One cell a pixel of a square film; of others it is stretched with it.
        side = 40
        cells = part[np.ix_(*(np.arange(side) * length // side for length in part.shape))].astype(np.float32)
        return Analysis(
            findings=Findings(scores=scores, model=self.identity),
            saliency=tuple(
                Saliency(head="multiclass", label=label, cells=cells, first_centre=(0.5, 0.5), pitch=1 / side)
                for label in LABELS
            ),
        )


def lungs_part(shape):
    return lung_mask(shape)


def border_part(shape):
    part = np.ones(shape, np.bool_)
    part[6:-6, 6:-6] = False
    return part


def films(count=90, *, where=("lungs", "border"), seed=0):
    """Films whose class is told by the brightness of lungs, border or both; a patient has two."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = number // 2 % 3
        picture = rng.uniform(0.3, 0.7, SHAPE).astype(np.float32)
        for name, part in (("lungs", lungs_part), ("border", border_part)):
            level = BRIGHTNESS[label] if name in where else rng.choice(BRIGHTNESS)
            inside = part(SHAPE)
            picture[inside] = level + rng.normal(0, 0.02, int(inside.sum()))
        made.append(
            Film(
                file=f"films/{number}.png",
                patient=f"secret-{number // 2}",
                label=LABELS[label],
                view="PA",
                age=40.0,
                sex="F",
                source=("here", "there")[number // 6 % 2],
                licence="CC-BY-4.0",
                split="test",
                cohort="adult",
                pixels=np.clip(picture, 0, 1),
            )
        )
    return tuple(made)
