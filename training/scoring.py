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

    from cxr_pacs.inference import Bundle, Engine
    from training.corpus import Film

__all__ = ["activation", "score"]


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
    heads = []
    for head in bundle.manifest.heads:
        probabilities = np.array([[entry.score for entry in findings.head(head.name)] for findings in said])
        thresholds = np.array([label.threshold for label in head.labels])
        heads.append(
            HeadScores(
                head=head.name,
                labels=tuple(label.name for label in head.labels),
                probabilities=probabilities,
                thresholds=np.broadcast_to(thresholds, probabilities.shape).copy(),
            )
        )
    identity = bundle.identity
    return ScoreTable(
        models=(Model(name=identity.name, version=identity.version, digest=identity.digest),),
        manifests=(manifest,) if manifest else (),
        cases=cases_of(films),
        heads=tuple(heads),
    )


def activation(engine: Engine, film: Film, head: str, label: str) -> NDArray[np.float32]:
    """Class activation map of one class over the film: float32 [rows, columns] in 0..1."""
    picture = film.p_values()
    for saliency in engine.analyse(picture).saliency:
        if (saliency.head, saliency.label) == (head, label):
            return saliency.over((picture.shape[0], picture.shape[1]))
    raise KeyError(f"{head}/{label}")
