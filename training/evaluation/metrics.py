"""The principal figures of an evaluation as a bundle states them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.inference.manifest import Metric
from training.evaluation.evaluate import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.evaluation.evaluate import Evaluation, HeadFigures
    from training.evaluation.figures import Key

__all__ = ["metrics"]

_DIGITS = 3
_STATED = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity of",
    "auroc": "AUROC of",
}


def metrics(evaluation: Evaluation, films: str) -> tuple[Metric, ...]:
    """
    Give accuracy, balanced accuracy, and each class's sensitivity and AUROC, for every row.

    Parameters
    ----------
    evaluation : Evaluation
    films : str
        What the row ``all`` is, e.g. ``test``; the others are named ``test, adult`` and the like.
    """
    return tuple(
        metric
        for row, measured in evaluation.rows.items()
        for head, figures in measured.heads.items()
        for metric in _stated(head, figures, ", ".join(filter(None, (films, row.partition("=")[2]))))
    )


def _stated(head: str, measured: HeadFigures, films: str) -> Iterator[Metric]:
    judged = measured.judged
    for key, figure in measured.figures.items():
        if key[0] not in _STATED or figure is None:
            continue
        counted = judged.true == judged.labels.index(key[1]) if key[0] == "sensitivity" else judged.true >= 0
        yield Metric(
            head=head,
            name=_name(key),
            films=films,
            value=round(figure.value, _DIGITS),
            low=round(figure.low, _DIGITS),
            high=round(figure.high, _DIGITS),
            images=int(counted.sum()),
            patients=len(np.unique(judged.patients[counted])),
            interval=INTERVAL,
        )


def _name(key: Key) -> str:
    return " ".join(filter(None, (_STATED[key[0]], key[1])))
