"""How much the maps of different films of one class are alike: whether they say where, or only what."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.inference.manifest import Maps
from training.evaluation.figures import RESAMPLES, Figure, patient_draws

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Likeness", "ShownMap", "likeness", "stated"]

FEWEST = 10  # patients of whom a class has maps
_DIGITS = 3
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownMap:
    """The map of one film's leading class.

    Attributes
    ----------
    patient, label : str
    cells : float32 ndarray, shape (h, w)
        As `cxr_pacs.inference.Saliency` has them; of one model, so of one shape.
    """

    patient: str
    label: str
    cells: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Mean correlation of two patients' maps over their cells, its interval by patient, and of how many."""

    figure: Figure
    images: int
    patients: int


def likeness(maps: Iterable[ShownMap]) -> dict[str, Likeness]:
    """
    Tell how much two patients' maps are alike, of each class that leads with ten patients and more.

    A map of which all cells are equal says nothing and is left out. Films of one patient are not compared.
    """
    by_label: dict[str, list[ShownMap]] = defaultdict(list)
    for one in maps:
        if np.ptp(one.cells) > 0:
            by_label[one.label].append(one)
    return {
        label: _of(members)
        for label, members in sorted(by_label.items())
        if len({one.patient for one in members}) >= FEWEST
    }


def stated(found: Mapping[str, Likeness], films: str) -> Maps | None:
    """Make what a manifest says of it: of the class whose maps are the most alike; None without any."""
    if not found:
        return None
    label, most = max(found.items(), key=lambda entry: entry[1].figure.value)
    return Maps(
        label=label,
        alike=round(most.figure.value, _DIGITS),
        low=round(most.figure.low, _DIGITS),
        high=round(most.figure.high, _DIGITS),
        films=films,
        images=most.images,
        patients=most.patients,
    )


def _of(maps: Sequence[ShownMap]) -> Likeness:
    known, numbers = np.unique([one.patient for one in maps], return_inverse=True)
    patients = numbers.astype(np.int64)
    cells = np.array([one.cells.ravel() for one in maps], np.float64)
    pairs = (patients[:, None] != patients).astype(np.float64)
    correlations = np.corrcoef(cells) * pairs
    draws = patient_draws(patients, RESAMPLES, _SEED).astype(np.float64)
    counted = np.einsum("ri,ij,rj->r", draws, pairs, draws, optimize=True)
    summed = np.einsum("ri,ij,rj->r", draws, correlations, draws, optimize=True)
    low, high = np.percentile(summed[counted > 0] / counted[counted > 0], (2.5, 97.5))
    value = float(correlations.sum() / pairs.sum())
    return Likeness(
        figure=Figure(value=value, low=float(min(low, value)), high=float(max(high, value))),
        images=len(maps),
        patients=len(known),
    )
