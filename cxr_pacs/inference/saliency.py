"""Class activation maps: which feature cells argue for a class, from the same forward pass as its score.

The heads are linear on the averaged last feature map, so a cell's share of a logit is its features times the
class's weights. Normalised, this is Grad-CAM of the logit, with no gradient.

References
----------
Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016;
Selvaraju et al., Grad-CAM, ICCV 2017, section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["activation_maps"]


def activation_maps(features: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Map every class of one head.

    Parameters
    ----------
    features : float32 ndarray, shape (h, w, channels)
        Last feature map of one image.
    kernel : float32 ndarray, shape (channels, classes)
        Weights of the head.

    Returns
    -------
    float32 ndarray, shape (classes, h, w)
        In [0, 1]: negative part cut off, each map divided by its maximum; zero where nothing is positive.
    """
    maps: NDArray[np.float32] = np.maximum(np.moveaxis(features @ kernel, -1, 0), 0)
    peaks = maps.max(axis=(1, 2), keepdims=True)
    np.divide(maps, peaks, out=maps, where=peaks > 0)
    return maps
