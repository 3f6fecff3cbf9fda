"""What a bundle says of films: scored with the engine that serves, preprocessing included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from cxr_pacs.inference import load_engine
from training.evaluation.table import HeadScores, Model, ScoreTable, cases_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference import Bundle, ClassScore, Engine, Findings
    from training.corpus import Film

__all__ = ["activation", "score", "tabulate"]


def score(
    bundle: Bundle, films: Sequence[Film], manifest: str = "", *, engine: Engine | None = None
) -> ScoreTable:
    """
    Score every film; a terminal shows a progress bar.

    Parameters
    ----------
    bundle : Bundle
    films : sequence of Film
        At least one.
    manifest : str
        Digest of the manifest that they come from, and which split they are.
    engine : Engine, optional
        Already running `bundle`; by default one is loaded, on a GPU where there is one.

    Raises
    ------
    EngineError
        There is no usable backend.
    """
    engine = engine or load_engine(bundle, "auto")
    console = Console(stderr=True)
    bar = track(films, "Scoring", console=console, transient=True, disable=not console.is_terminal)
    said = [engine.analyse(film.p_values()).findings for film in bar]
    return tabulate(films, said, manifest)


def tabulate(films: Sequence[Film], said: Sequence[Findings], manifest: str = "") -> ScoreTable:
    """
    Make a table of what one model said of each film.

    Parameters
    ----------
    films : sequence of Film
        At least one.
    said : sequence of Findings
        One for each film, nothing withheld.
    manifest : str
        As for `score`.
    """
    identity = said[0].model
    names = dict.fromkeys(entry.head for entry in said[0].scores)
    return ScoreTable(
        models=(Model(name=identity.name, version=identity.version, digest=identity.digest),),
        manifests=(manifest,) if manifest else (),
        cases=cases_of(films),
        heads=tuple(_head(name, [findings.head(name) for findings in said]) for name in names),
    )


def _head(name: str, said: Sequence[Sequence[ClassScore]]) -> HeadScores:
    return HeadScores(
        head=name,
        labels=tuple(entry.label for entry in said[0]),
        probabilities=np.array([[entry.score for entry in scores] for scores in said]),
        thresholds=np.array([[entry.threshold for entry in scores] for scores in said]),
    )


def activation(engine: Engine, film: Film, head: str, label: str) -> NDArray[np.float32]:
    """Class activation map of one class over the film: float32 [rows, columns] in 0..1."""
    picture = film.p_values()
    for saliency in engine.analyse(picture).saliency:
        if (saliency.head, saliency.label) == (head, label):
            return saliency.over((picture.shape[0], picture.shape[1]))
    raise KeyError(f"{head}/{label}")
