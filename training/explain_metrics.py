"""The principal figures of an explanation as a bundle states them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_pacs.inference.manifest import Metric
from training.evaluation import metrics
from training.evaluation.evaluate import INTERVAL
from training.occlusion import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.explain import Explanation

__all__ = ["explanation_metrics"]

_DIGITS = 3
_SHARES = {
    "lungs": "median share of the activation map in the lungs",
    "even_seen": "the same of a map even over what the model is given",
}
_OVERALL = ("accuracy", "balanced accuracy")


def explanation_metrics(explanation: Explanation, films: str) -> tuple[Metric, ...]:
    """
    Give the share of the maps in the lungs, and what the model does without lungs and with them alone.

    Of the head that was judged: accuracies of all films, AUROC within each source.

    Parameters
    ----------
    explanation : Explanation
    films : str
        Which films they are, e.g. ``test``; with a part hidden they are ``test, lungs blanked`` and the like.
    """
    return tuple(_metrics(explanation, films))


def _metrics(explanation: Explanation, films: str) -> Iterator[Metric]:
    row = explanation.maps["all"]
    for name, words in _SHARES.items():
        if (spread := row.shares.get(name)) is not None:
            yield Metric(
                head=explanation.head,
                name=words,
                films=films,
                value=round(spread.median.value, _DIGITS),
                low=round(spread.median.low, _DIGITS),
                high=round(spread.median.high, _DIGITS),
                images=row.measured,
                patients=row.patients,
                interval=INTERVAL,
            )
    for view, occluded in explanation.views.items():
        if view is View.WHOLE or view in explanation.empty:
            continue
        seen = f"{films}, {view.words}"
        sources = {f"{seen}, {source}" for source, _, _ in explanation.within_sources(view)}
        for metric in metrics(occluded.evaluation, seen):
            overall = metric.films == seen and metric.name in _OVERALL
            within = metric.films in sources and metric.name.startswith("AUROC")
            if metric.head == explanation.head and (overall or within):
                yield metric
