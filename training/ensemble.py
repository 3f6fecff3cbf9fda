"""Several fitted networks as the one that a bundle holds; see `cxr_pacs.inference.ensemble`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_pacs.inference.ensemble import member

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["joined"]


def joined(members: Sequence[Weights], heads: Collection[str]) -> dict[str, NDArray[np.floating[Any]]]:
    """
    Give the weights of the ensemble of `members`, whose logits are the mean of theirs.

    Parameters
    ----------
    members : sequence of mapping
        Weights of each under ``layer/weight``, all of one layout.
    heads : collection of str
        Names of the heads.
    """
    weights = {
        f"{member(number)}_{name}": array
        for number, each in enumerate(members, start=1)
        for name, array in each.items()
        if name.partition("/")[0] not in heads
    }
    for head in heads:
        kernels = [each[f"{head}/kernel"] for each in members]
        weights[f"{head}/kernel"] = np.concatenate(kernels) / len(members)
        weights[f"{head}/bias"] = np.mean([each[f"{head}/bias"] for each in members], axis=0)
    return weights
