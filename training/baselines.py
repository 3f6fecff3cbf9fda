"""Trivial classifiers that see no lungs: what a model does not beat clearly, it has not read in the lungs.

Logistic regressions on an 8x8 thumbnail, on the outer border, and on the image's size; fitted on everybody,
and again on each cohort alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_pacs.inference.preprocessing import area_average
from training.corpus import CorpusError
from training.evaluation.table import Baseline, HeadScores, cases_of, class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = ["FEATURES", "border", "fit_baselines", "size", "thumbnail"]

_SIDE, _EDGE = 64, 6
_FEWEST = 5


def thumbnail(film: Film) -> NDArray[np.float32]:
    """Return the film squashed to 8 x 8 by averaging areas."""
    return area_average(film.p_values(), (8, 8)).ravel()


def border(film: Film) -> NDArray[np.float32]:
    """Return the outer 6 pixels of each side of the film squashed to 64 x 64."""
    outside = np.ones((_SIDE, _SIDE), bool)
    outside[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    return area_average(film.p_values(), (_SIDE, _SIDE))[outside]


def size(film: Film) -> NDArray[np.float32]:
    """Return width, height and width by height of the image."""
    rows, columns = film.pixels.shape
    return np.array([columns, rows, columns / rows], np.float32)


FEATURES: Mapping[str, Callable[[Film], NDArray[np.float32]]] = {
    "thumbnail": thumbnail,
    "border": border,
    "size": size,
}


def fit_baselines(
    training: Sequence[Film], judged: Sequence[Film], heads: Mapping[str, Sequence[str]]
) -> tuple[Baseline, ...]:
    """
    Fit every baseline for every head, and let it score the films in `judged`.

    Parameters
    ----------
    training : sequence of Film
        Films of patients that are in `judged` too are left out.
    judged : sequence of Film
    heads : mapping of str to sequence of str
        Labels by head.

    Returns
    -------
    tuple of Baseline
        Without those for which a head has fewer than two classes with at least 5 films each to learn from.

    Raises
    ------
    CorpusError
        scikit-learn is not installed.
    """
    patients = {film.patient for film in judged}
    apart = [film for film in training if film.patient not in patients]
    groups = np.array([case.group for case in cases_of(apart)])
    cohorts = sorted(set(groups.tolist()) - {""})
    baselines = []
    for name, features in FEATURES.items():
        if not apart:
            break
        known, asked = (np.stack([features(film) for film in films]) for films in (apart, judged))
        for cohort in ("", *cohorts) if len(cohorts) > 1 else ("",):
            rows = np.flatnonzero((groups == cohort) | (not cohort))
            labels = [apart[i].label for i in rows]
            scores = tuple(_heads(known[rows], labels, asked, heads))
            if scores:
                baselines.append(Baseline(name=name, cohort=cohort, heads=scores))
    return tuple(baselines)


def _heads(
    known: NDArray[np.float32],
    labels: Sequence[str],
    asked: NDArray[np.float32],
    heads: Mapping[str, Sequence[str]],
) -> Iterator[HeadScores]:
    for head, classes in heads.items():
        found = [class_of(label, classes) for label in labels]
        true = np.array([-1 if index is None else index for index in found], dtype=np.int64)
        learnable = [index for index in range(len(classes)) if (true == index).sum() >= _FEWEST]
        if len(learnable) < 2:
            continue
        rows = np.isin(true, learnable)
        probabilities = np.zeros((len(asked), len(classes)))
        probabilities[:, learnable] = _fit(known[rows], true[rows]).predict_proba(asked)
        yield HeadScores(
            head=head,
            labels=tuple(classes),
            probabilities=probabilities,
            thresholds=np.full_like(probabilities, 1 / len(classes)),
        )


def _fit(features: NDArray[np.float32], true: NDArray[np.int64]) -> Any:
    """Fit a logistic regression on standardised features, every class weighing the same."""
    try:
        linear_model = importlib.import_module("sklearn.linear_model")
        pipeline = importlib.import_module("sklearn.pipeline")
        preprocessing = importlib.import_module("sklearn.preprocessing")
    except ImportError as error:
        raise CorpusError(
            f"baselines need scikit-learn, which cannot be imported ({error}); install cxr-pacs[train]"
        ) from error
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(class_weight="balanced", max_iter=5000),
    )
    return model.fit(features.astype(np.float64), true)
