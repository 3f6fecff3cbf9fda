"""For whom a class may be claimed: only where held-out films show more than a trivial classifier sees.

A class is claimed for a cohort where at least 30 held-out films of it and 30 of the head's other classes give
an AUROC, one class against the rest, whose lead over the best trivial baseline on the same films has a 95 %
interval, by patient, above 0. A view is claimed where at least 30 of these films have it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cxr_pacs.inference.manifest import Claim
from training.evaluation.table import class_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.evaluation import Evaluation
    from training.evaluation.evaluate import Row
    from training.evaluation.table import Case

__all__ = ["FEWEST", "Verdict", "claims", "verdicts"]

FEWEST = 30
_ADULT_AGES = (18.0, 120.0)
# Ages that a source states for all its patients, where its manifest gives none.
_STATED_AGES = {"kermany-paediatric": (1.0, 5.0)}
_COHORT = "cohort="
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one class may be claimed for one cohort.

    Attributes
    ----------
    cohort, head, label : str
    claim : Claim or None
        None: not claimed.
    reason : str
        One sentence.
    """

    cohort: str
    head: str
    label: str
    claim: Claim | None
    reason: str


def claims(evaluation: Evaluation, films: str) -> tuple[Claim, ...]:
    """
    Give the claims that `evaluation` supports.

    Parameters
    ----------
    evaluation : Evaluation
        Of held-out films, to which no weight was fitted, with baselines.
    films : str
        Which films these are, in words.
    """
    return tuple(verdict.claim for verdict in verdicts(evaluation, films) if verdict.claim is not None)


def verdicts(evaluation: Evaluation, films: str) -> Iterator[Verdict]:
    """Decide on each class of each head for each cohort, as `claims`, and say why."""
    for name, row in evaluation.rows.items():
        if not name.startswith(_COHORT):
            continue
        cohort = name.removeprefix(_COHORT)
        for head, figures in row.heads.items():
            for label in figures.judged.labels:
                found = _decide(evaluation, row, (cohort, head, label), films)
                claim, reason = (None, found) if isinstance(found, str) else (found, _shown(found))
                yield Verdict(cohort=cohort, head=head, label=label, claim=claim, reason=reason)


def _decide(evaluation: Evaluation, row: Row, which: tuple[str, str, str], films: str) -> Claim | str:
    """Make the claim, or say why there is none."""
    cohort, head, label = which
    judged = row.heads[head].judged
    positives = int((judged.true == judged.labels.index(label)).sum())
    others = len(judged.true) - positives
    if positives < FEWEST or others < FEWEST:
        return f"{positives} films of the class and {others} others, at least {FEWEST} of each are needed"
    figure = row.heads[head].figures["auroc", label]
    gain = row.gains.get(head, {}).get(("auroc", label))
    if figure is None or gain is None:
        return "no trivial baseline was measured on the same films"
    if gain.low <= 0:
        return (
            f"AUROC {figure.value:.3f} is not surely above {gain.baseline_value:.3f} of the baseline "
            f"{gain.baseline}: lead {gain.value:+.3f}, interval {gain.low:+.3f} to {gain.high:+.3f}"
        )
    cases = [
        case
        for case in (evaluation.table.cases[i] for i in row.films)
        if class_of(case.label, judged.labels) is not None
    ]
    ages, views = _ages(cohort, cases), _views(cases)
    if ages is None:
        return "the ages of these patients are not known"
    if not views:
        return (
            f"the views of these films are not known: fewer than {FEWEST} are PA, and fewer than {FEWEST} AP"
        )
    return Claim(
        head=head,
        label=label,
        age_low=ages[0],
        age_high=ages[1],
        views=views,
        films=f"{films}, {cohort}",
        positives=positives,
        others=others,
        figure="AUROC",
        value=round(figure.value, _DIGITS),
        low=round(figure.low, _DIGITS),
        high=round(figure.high, _DIGITS),
        baseline=gain.baseline,
        baseline_value=round(gain.baseline_value, _DIGITS),
        gain_low=max(round(gain.low, _DIGITS), 10.0**-_DIGITS),
    )


def _shown(claim: Claim) -> str:
    return (
        f"AUROC {claim.value:.3f}, {claim.baseline_value:.3f} of the baseline {claim.baseline}, "
        f"lead at least {claim.gain_low:+.3f}"
    )


def _ages(cohort: str, cases: Sequence[Case]) -> tuple[float, float] | None:
    """Whole years that the cohort spans: all adults, else the youngest to the oldest that is known of."""
    if cohort == "adult":
        return _ADULT_AGES
    spans = [
        _STATED_AGES.get(case.source) if case.age is None else (math.floor(case.age), math.floor(case.age))
        for case in cases
    ]
    known = [span for span in spans if span is not None]
    if not known:
        return None
    return float(min(low for low, _ in known)), float(max(high for _, high in known))


def _views(cases: Sequence[Case]) -> tuple[Literal["PA", "AP"], ...]:
    """
    Name the views that enough films have, as View Position (0018,5101) does.

    A supine or portable AP is an AP.
    """
    first_words = Counter((case.view.upper().split() or [""])[0] for case in cases)
    both: tuple[Literal["PA", "AP"], ...] = ("PA", "AP")
    return tuple(view for view in both if first_words[view] >= FEWEST)
