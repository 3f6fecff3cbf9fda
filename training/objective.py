"""What a search looks for: sensitivity first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_pacs.inference.network import build_network, write_weights
from training.calibrate import softmax
from training.corpus import CorpusError
from training.loop import Fit, logits
from training.recipe import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.packed import Packed
    from training.recipe import Plan
    from training.search import Choice

__all__ = ["HEAD", "SPECIFICITY", "FitAndJudge", "Judgement", "check_classes", "judge", "sensitivity_at"]

HEAD = "multiclass"
SPECIFICITY = 0.90


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitAndJudge:
    """Fits a choice in its run folder and judges the head `HEAD`; a run that was begun is taken up.

    The weights are not kept: what a search gives is the choice.

    Attributes
    ----------
    training, judging : Packed
        Films to fit, and others to judge by.
    plan : Plan
        That a choice changes.
    report : callable
        Told the run folder's name and what `training.loop.Fit` reports of each epoch.
    """

    training: Packed
    judging: Packed
    plan: Plan
    report: Callable[[str, Mapping[str, Any]], None]

    def __call__(self, choice: Choice, run: Path, note: Callable[[str, Any], None]) -> float:
        """Give `Judgement.value`; the rest of the judgement is noted."""
        plan = choice.of(self.plan)
        weights = Fit(self.training, plan, run).weights(lambda line: self.report(run.name, line))
        network = build_network(plan.architecture, plan.mean, plan.deviation)
        write_weights(network, weights)
        said = logits(network, self.judging.views, plan.stages[-1].size)[HEAD]
        judgement = judge(said, self.judging.labels, HEADS[HEAD])
        note("sensitivities", dict(judgement.sensitivities))
        note("auroc", judgement.auroc)
        # A judged trial keeps its log; a hundred checkpoints of ResNet50 would take 10 GB.
        (run / "checkpoint.npz").unlink(missing_ok=True)
        return judgement.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How good the scores of one head are.

    Attributes
    ----------
    value : float
        What is maximised. The better of two fits, judged on the same films, is the one whose worst class has
        the higher sensitivity at a specificity of at least `SPECIFICITY`; where these are equal, the one
        whose AUROC, averaged over the classes, is higher. Written as one number: the worst sensitivity plus
        the mean AUROC over n² + 1, n the number of films of the largest class. Two sensitivities that differ
        do so by 1 / n² at least, so the second term never outweighs the first.
    sensitivities : mapping of str to float
        Of each class against the rest.
    auroc : float
        Of each class against the rest, averaged over the classes.
    """

    value: float
    sensitivities: Mapping[str, float]
    auroc: float

    @property
    def worst(self) -> float:
        """Sensitivity of the worst class."""
        return min(self.sensitivities.values())


def check_classes(truth: NDArray[np.str_], labels: Sequence[str]) -> None:
    """
    See that every class can be judged.

    Raises
    ------
    CorpusError
        A class has no film.
    """
    if missing := [label for label in labels if not (truth == label).any()]:
        raise CorpusError(
            f"the films to judge by have none of {', '.join(missing)}; a search needs every class"
        )


def judge(logits: NDArray[np.floating[Any]], truth: NDArray[np.str_], labels: Sequence[str]) -> Judgement:
    """
    Judge one head.

    Parameters
    ----------
    logits : ndarray, shape (films, classes)
        Any finite numbers; where one is not finite the fit has come to nothing and is worth 0.
    truth : str ndarray, shape (films,)
        Each film's label; films whose label is none of `labels` do not count.
    labels : sequence of str
        Of the classes, in the order of `logits`.

    Raises
    ------
    CorpusError
        A class has no film.
    """
    check_classes(truth, labels)
    if not np.isfinite(logits).all():
        return Judgement(value=0.0, sensitivities=dict.fromkeys(labels, 0.0), auroc=0.0)
    known = np.isin(truth, labels)
    scores, truth = softmax(logits[known], 1.0), truth[known]
    sensitivities, areas = {}, []
    for number, label in enumerate(labels):
        positives, negatives = scores[truth == label, number], scores[truth != label, number]
        sensitivities[label] = sensitivity_at(SPECIFICITY, positives, negatives)
        areas.append(_auroc(positives, negatives))
    largest = max(int((truth == label).sum()) for label in labels)
    auroc = float(np.mean(areas))
    value = min(sensitivities.values()) + auroc / (largest**2 + 1)
    return Judgement(value=value, sensitivities=sensitivities, auroc=auroc)


def sensitivity_at(
    specificity: float, positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> float:
    """
    Give the highest sensitivity that any threshold reaches at `specificity` or more.

    A film is called positive whose score is the threshold or above.

    Parameters
    ----------
    specificity : float
        0..1.
    positives, negatives : float64 ndarray, shape (films,)
        Scores, at least one of each.
    """
    allowed = int(np.floor((1 - specificity) * len(negatives) + 1e-9))
    if allowed >= len(negatives):
        return 1.0
    # The threshold lies just above the first negative that may not be called positive.
    bar = np.sort(negatives)[::-1][allowed]
    return float((positives > bar).mean())


def _auroc(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
    """Share of pairs in the right order, ties counting half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    level = np.searchsorted(ordered, positives, side="right") - below
    return float((below + level / 2).mean() / len(negatives))
