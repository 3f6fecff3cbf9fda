"""Where activation maps lie: the share of each in the lungs, beside what an even map would have there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.inference.saliency import share_inside
from training.evaluation.figures import RESAMPLES, Figure, patient_draws

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference import ClassScore, Saliency
    from training.evaluation import Case

__all__ = ["SHARES", "FilmMap", "MapRow", "Spread", "map_rows", "measure_map"]

SHARES = ("lungs", "fields", "even_fields", "even_seen", "even_picture")
"""What is measured of a map: see `FilmMap`."""
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmMap:
    """The map of one film's leading class, each share in 0..1.

    Attributes
    ----------
    case : Case
    shown : ClassScore
        The class.
    lungs, fields : float or None
        Share of the map's sum in the lung mask, and in the lung fields; None where the map is all zero, or
        no lungs were found.
    even_fields, even_seen, even_picture : float or None
        Share in the lung mask of a map that is even over the lung fields, over the part of the picture that
        the network was given, and over the whole picture; None where no lungs were found.
    """

    case: Case
    shown: ClassScore
    lungs: float | None = None
    fields: float | None = None
    even_fields: float | None = None
    even_seen: float | None = None
    even_picture: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median with its interval, and the quartiles."""

    median: Figure
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapRow:
    """Some of the films.

    Attributes
    ----------
    films : int
        All of them.
    measured, patients : int
        Those that have lungs and a map, and whose they are.
    shares : mapping of str to Spread
        By the names in `SHARES`, of the measured films; empty where there are none.
    """

    films: int
    measured: int
    patients: int
    shares: Mapping[str, Spread]


def measure_map(
    film: FilmMap, saliency: Saliency, lungs: NDArray[np.bool_], fields: NDArray[np.bool_] | None
) -> FilmMap:
    """
    Add the shares to what is known of a film.

    Parameters
    ----------
    film : FilmMap
    saliency : Saliency
        Of the class that is shown.
    lungs : bool ndarray, shape (rows, columns)
        Lung mask over the picture.
    fields : bool ndarray, shape (rows, columns), or None
        Lung fields over the picture; None where none were found.
    """
    if fields is None or not lungs.any():
        return film
    shape = (lungs.shape[0], lungs.shape[1])
    laid = saliency.over(shape)
    even = replace(saliency, cells=np.ones_like(saliency.cells)).over(shape)
    return replace(
        film,
        lungs=share_inside(laid, lungs),
        fields=share_inside(laid, fields),
        even_fields=share_inside(fields.astype(np.float32), lungs),
        even_seen=share_inside(even, lungs),
        even_picture=float(lungs.mean()),
    )


def map_rows(maps: Sequence[FilmMap]) -> dict[str, MapRow]:
    """Sum up ``all`` films, those of each ``class=…`` and ``source=…``, and of both."""
    groups: dict[str, list[FilmMap]] = {"all": list(maps)}
    for template in ("class={0.label}", "source={0.source}", "class={0.label}, source={0.source}"):
        names = [template.format(film.case) for film in maps]
        groups |= {name: [] for name in sorted(set(names))}
        for name, film in zip(names, maps, strict=True):
            groups[name].append(film)
    return {name: _row(members) for name, members in groups.items()}


def _row(films: Sequence[FilmMap]) -> MapRow:
    measured = [film for film in films if film.lungs is not None]
    if not measured:
        return MapRow(films=len(films), measured=0, patients=0, shares={})
    known, patients = np.unique([film.case.patient for film in measured], return_inverse=True)
    draws = patient_draws(patients.astype(np.int64), RESAMPLES, _SEED)
    return MapRow(
        films=len(films),
        measured=len(measured),
        patients=len(known),
        shares={
            name: _spread(np.array([getattr(film, name) for film in measured], float), draws)
            for name in SHARES
        },
    )


def _spread(values: NDArray[np.float64], draws: NDArray[np.float32]) -> Spread:
    lower, median, upper = np.percentile(values, (25, 50, 75))
    order = np.argsort(values, kind="stable")
    below = np.cumsum(draws[:, order], axis=1)
    drawn = below[:, -1:]
    kept = drawn[:, 0] > 0
    medians = values[order][(below[kept] < drawn[kept] / 2).sum(axis=1)]
    low, high = np.percentile(medians, (2.5, 97.5))
    return Spread(
        median=Figure(value=float(median), low=float(min(low, median)), high=float(max(high, median))),
        lower=float(lower),
        upper=float(upper),
    )
