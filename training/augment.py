"""Random changes of a film that leave its reading the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.corpus import squash_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Augmentation", "augment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a film may be changed.

    Attributes
    ----------
    crop : float
        Largest share of each side that is cut, rows and columns apart: shape and borders then tell little.
    turn : float
        Largest rotation, degrees.
    gamma : float
        Largest change of the logarithm of gamma.
    contrast : float
        Largest relative change of contrast, and largest shift, of P-values.
    """

    crop: float
    turn: float
    gamma: float
    contrast: float


def augment(
    pixels: NDArray[np.uint8], size: int, limits: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Crop, squash to a square of `size`, perhaps mirror, turn and regrade one film; float32 in 0..1."""
    square = squash_square(_crop(pixels, limits.crop, rng), size)
    if rng.random() < 0.5:
        square = square[:, ::-1]
    centre = ((size - 1) / 2, (size - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-limits.turn, limits.turn), 1.0)
    turned = cv2.warpAffine(
        np.ascontiguousarray(square), matrix, (size, size), borderMode=cv2.BORDER_REPLICATE
    )
    square = np.asarray(turned, np.float32) ** np.exp(rng.uniform(-limits.gamma, limits.gamma))
    scale, shift = 1 + rng.uniform(-1, 1) * limits.contrast, rng.uniform(-1, 1) * limits.contrast
    regraded = (square - 0.5) * scale + 0.5 + shift
    return np.asarray(np.clip(regraded, 0, 1), np.float32)


def _crop(pixels: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut up to `share` of the rows and, apart from that, of the columns."""
    sides = []
    for length in pixels.shape:
        kept = max(1, round(length * (1 - rng.uniform(0, share))))
        start = int(rng.integers(0, length - kept + 1))
        sides.append(slice(start, start + kept))
    return pixels[sides[0], sides[1]]
