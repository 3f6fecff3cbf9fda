"""Films that show the same picture, whatever their size, grading or compression.

References
----------
Perceptual hash of low cosine frequencies: Zauner, Implementation and benchmarking of perceptual image hash
functions, 2010, section 3.2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cxr_pacs.inference.preprocessing import area_average

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = ["Alike", "find_duplicates"]

_SIDE = 64
_HASH = 8
_FARTHEST = 12  # bits of 63
_LEAST_CORRELATION = 0.97  # different films of one projection reach 0.95 where their hashes are close
_BLOCK = 1024  # films compared with all others at a time: 1024 x 100,000 distances are 100 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Two films, by their places in the sequence that was searched, first < second.

    Attributes
    ----------
    first, second : int
    distance : int
        Bits in which their hashes differ, of 63.
    correlation : float
        Pearson's, of both pictures squashed to 64 x 64 pixels.
    """

    first: int
    second: int
    distance: int
    correlation: float


def find_duplicates(films: Sequence[Film]) -> tuple[Alike, ...]:
    """
    Compare every film with every other.

    Two are alike where their hashes (the signs of the 63 lowest cosine frequencies about their median) are
    close and their squashed pictures correlate: either alone calls many radiographs of one posture alike.
    A picture without any contrast is like no other.
    """
    if len(films) < 2:
        return ()
    pictures = np.stack([area_average(film.p_values(), (_SIDE, _SIDE)) for film in films])
    hashes = _hashes(pictures)
    flat = pictures.reshape(len(films), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 1e-6)
    found = []
    for first, second, distance in _close(hashes):
        correlation = float(unit[first] @ unit[second])
        if correlation >= _LEAST_CORRELATION:
            found.append(Alike(first=first, second=second, distance=distance, correlation=correlation))
    return tuple(found)


def _hashes(pictures: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Pack each picture's 63 signs into one word."""
    low = np.stack([cv2.dct(picture)[:_HASH, :_HASH].ravel()[1:] for picture in pictures])
    signs = low > np.median(low, axis=1, keepdims=True)
    padded = np.pad(signs, ((0, 0), (0, 1)))
    return np.packbits(padded, axis=1).view(np.uint64).ravel()


def _close(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        for row, column in zip(*np.nonzero(distances <= _FARTHEST), strict=True):
            if row < column:
                yield int(start + row), int(start + column), int(distances[row, column])
