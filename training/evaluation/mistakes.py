"""The worst mistakes of a model as pictures, with the class activation map of what it took the film for."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.evaluation.table import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film
    from training.evaluation.table import Case, ScoreTable

    Explain = Callable[[Film, str, str], NDArray[np.float32]]

__all__ = ["Mistake", "Picture", "picture_of", "worst_mistakes"]

_HEIGHT = 220
_OPACITY = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A film that was taken for another class.

    Attributes
    ----------
    case : Case
    head, decided : str
        Which head, and the class that it gave the highest score.
    score, true_score : float
        Of that class, and of the true one.
    """

    case: Case
    head: str
    decided: str
    score: float
    true_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A film and the same under its activation map, each a JPEG as a ``data:`` address; the map may lack."""

    film: str
    map: str | None


def worst_mistakes(table: ScoreTable, most: int = 12) -> tuple[Mistake, ...]:
    """Give the films where the head with the most classes was surest of a wrong one, worst first."""
    head = max(table.heads, key=lambda head: len(head.labels))
    found = []
    for case, scores in zip(table.cases, head.probabilities, strict=True):
        decided = head.labels[int(scores.argmax())]
        true = class_of(case.label, head.labels)
        if true is not None and decided != head.labels[true]:
            found.append(
                Mistake(
                    case=case,
                    head=head.head,
                    decided=decided,
                    score=float(scores.max()),
                    true_score=float(scores[true]),
                )
            )
    return tuple(sorted(found, key=lambda m: m.true_score - m.score)[:most])


def picture_of(mistake: Mistake, films: Sequence[Film], explain: Explain | None) -> Picture | None:
    """
    Draw the film of a mistake; None where it is not among `films`.

    Parameters
    ----------
    mistake : Mistake
    films : sequence of Film
    explain : callable or None
        Gives the activation map [rows, columns] in 0..1 of (film, head, class).
    """
    film = next((film for film in films if film.file == mistake.case.file), None)
    if film is None:
        return None
    grey = _shrunk(film.p_values())
    plain = np.repeat(grey[..., np.newaxis], 3, axis=2)
    if explain is None:
        return Picture(film=_jpeg(plain), map=None)
    heat = np.clip(_shrunk(explain(film, mistake.head, mistake.decided)), 0, 1)
    colours = np.asarray(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO))
    share = (_OPACITY * np.sqrt(heat))[..., np.newaxis]
    return Picture(film=_jpeg(plain), map=_jpeg(plain * (1 - share) + colours / 255 * share))


def _shrunk(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    scale = _HEIGHT / picture.shape[0]
    size = (max(1, round(picture.shape[1] * scale)), _HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def _jpeg(colours: NDArray[np.floating]) -> str:
    """Encode blue, green and red in 0..1."""
    pixels = np.clip(np.rint(colours * 255), 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
