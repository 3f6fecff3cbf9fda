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

__all__ = ["activation_maps", "share_inside"]


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


def share_inside(saliency: NDArray[np.float32], mask: NDArray[np.bool_]) -> float | None:
    """
    Tell how much of a map lies in a mask.

    Parameters
    ----------
    saliency : float32 ndarray, shape (rows, columns)
        From `Saliency.over`; not negative.
    mask : bool ndarray, shape (rows, columns)
        E.g. the lungs.

    Returns
    -------
    float or None
        In [0, 1]: the map's sum in the mask by its whole sum; None where the map is all zero.

    Raises
    ------
    ValueError
        Map and mask differ in shape.
    """
    if saliency.shape != mask.shape:
        raise ValueError(f"the map is {saliency.shape}, the mask {mask.shape}: lay both over one shape")
    whole = float(saliency.sum(dtype=np.float64))
    return float(saliency[mask].sum(dtype=np.float64)) / whole if whole > 0 else None
