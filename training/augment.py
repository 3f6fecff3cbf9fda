"""Random changes of a film that leave its reading the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Augmentation", "augment"]

_FILL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a film may be changed.

    Attributes
    ----------
    stretch : float
        Largest change of the logarithm of each side's scale, rows and columns apart: shape tells nothing.
    turn : float
        Largest rotation, degrees.
    shift : float
        Largest shift along each side, as a share of it.
    gamma : float
        Largest change of the logarithm of gamma.
    contrast : float
        Largest relative change of contrast, and largest shift of P-values.
    degrade : float
        Chance of each of: a coarser resolution, noise, JPEG artefacts, a burned-in mark.
    edge : float
        Chance that the border of the visible field is moved in or out, so that its outline tells little.
    """

    stretch: float
    turn: float
    shift: float
    gamma: float
    contrast: float
    degrade: float
    edge: float

    def scaled(self, strength: float) -> Augmentation:
        """All limits times `strength`; chances at most 1."""
        return Augmentation(
            stretch=self.stretch * strength,
            turn=self.turn * strength,
            shift=self.shift * strength,
            gamma=self.gamma * strength,
            contrast=self.contrast * strength,
            degrade=min(1.0, self.degrade * strength),
            edge=min(1.0, self.edge * strength),
        )


def augment(
    view: NDArray[np.uint8], size: int, limits: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """
    Change one film at random.

    Parameters
    ----------
    view : uint8 ndarray, shape (n, n, 3)
        Of `training.packed.Packed`: pixels, what is visible of them, and where the lungs are.
    size : int
        Side of the result, pixels.
    limits : Augmentation
    rng : Generator

    Returns
    -------
    image : float32 ndarray, shape (size, size)
        P-values in 0..1, mid-grey where nothing is visible.
    lungs : float32 ndarray, shape (size, size)
        0..1, moved with the image.
    """
    side = view.shape[0]
    width = round(side / size)
    if width > 1:
        # Else the sampling below would skip pixels.
        view = np.asarray(cv2.blur(view, (width, width)), np.uint8)
    matrix = _placement(side, size, limits, rng)
    placed = cv2.warpAffine(view, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
    moved = placed.astype(np.float32) / np.float32(255)
    image = _degrade(_regrade(moved[..., 0], limits, rng), limits, rng)
    return np.where(_visible(moved[..., 1], limits, rng), image, np.float32(_FILL)), moved[..., 2]


def _placement(side: int, size: int, limits: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """Affine map from the view to the result: stretched, turned, perhaps mirrored, shifted."""
    down, across = np.exp(rng.uniform(-limits.stretch, limits.stretch, 2)) * size / side
    angle = np.deg2rad(rng.uniform(-limits.turn, limits.turn))
    mirror = rng.choice((-1, 1))
    turned = np.array(
        [
            [np.cos(angle) * across * mirror, -np.sin(angle) * down],
            [np.sin(angle) * across * mirror, np.cos(angle) * down],
        ]
    )
    middle = np.full(2, (side - 1) / 2)
    target = (size - 1) / 2 + rng.uniform(-limits.shift, limits.shift, 2) * size
    return np.column_stack((turned, target - turned @ middle))


def _regrade(
    image: NDArray[np.float32], limits: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Another exposure."""
    bent = image ** np.float32(np.exp(rng.uniform(-limits.gamma, limits.gamma)))
    scale, shift = 1 + rng.uniform(-1, 1) * limits.contrast, rng.uniform(-1, 1) * limits.contrast
    return np.asarray(np.clip((bent - 0.5) * np.float32(scale) + np.float32(0.5 + shift), 0, 1), np.float32)


def _degrade(
    image: NDArray[np.float32], limits: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Do what scanners, codecs and annotators do to a picture."""
    coarser, noisy, recoded, marked = rng.random(4) < limits.degrade
    if marked:
        mark = np.zeros(image.shape, np.uint8)
        at = rng.integers(0, image.shape[0], 2).tolist()
        cv2.putText(mark, str(rng.choice(("L", "R", "AP", "<-"))), at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
        image = np.maximum(image, mark.astype(np.float32) / np.float32(255))
    if coarser:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
    if noisy:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = np.clip(image + noise * np.float32(rng.uniform(0, 0.05)), 0, 1)
    if recoded:
        quality = int(rng.integers(30, 95))
        coded = cv2.imencode(".jpg", (image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)
    return np.asarray(image, np.float32)


def _visible(field: NDArray[np.float32], limits: Augmentation, rng: np.random.Generator) -> NDArray[np.bool_]:
    mask = (field >= 0.5).astype(np.uint8)
    if rng.random() < limits.edge:
        width = 2 * int(rng.integers(1, max(2, mask.shape[0] // 24))) + 1
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        mask = np.asarray((cv2.dilate if rng.random() < 0.5 else cv2.erode)(mask, brush), np.uint8)
    return np.asarray(mask, np.bool_)
