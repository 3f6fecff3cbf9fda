"""What a model may say of this patient: the score of a class that it does not claim for him is withheld.

A network gives a score to everybody, also to patients of a kind that it was never shown to read. The bundle's
claims say for which patients a class was shown to be read; for all others there is a reason in the score's
place, never a low score, which would look like an answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cxr_pacs.inference.findings import Withheld

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cxr_pacs.inference.findings import ClassScore, Findings
    from cxr_pacs.inference.manifest import Claim

__all__ = ["Patient", "withhold"]

_VIEWS = frozenset({"PA", "AP"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What a claim asks of a patient and of the film.

    Attributes
    ----------
    age_years : float or None
        At the time of the film; None when not known.
    view : str or None
        ``PA`` or ``AP``; None for a frontal film of which nothing says which of the two.
    """

    age_years: float | None
    view: str | None


def withhold(findings: Findings, claims: Sequence[Claim], patient: Patient) -> Findings:
    """
    Keep the scores that are claimed for `patient`, and put a reason in the place of each other one.

    Ages are completed years, so a claim up to 5 years holds until the sixth birthday. An unknown age is
    covered by no claim. An unknown view is covered where the claims for the patient's age span both frontal
    views: then it makes no difference.
    """
    kept: list[ClassScore] = []
    withheld: list[Withheld] = []
    for score in findings.scores:
        of_class = [c for c in claims if (c.head, c.label) == (score.head, score.label)]
        reason = _reason(findings.model.coded(score.label).name, of_class, patient)
        if reason is None:
            kept.append(score)
        else:
            withheld.append(Withheld(head=score.head, label=score.label, reason=reason))
    return replace(findings, scores=tuple(kept), withheld=(*findings.withheld, *withheld))


def _reason(name: str, claims: Sequence[Claim], patient: Patient) -> str | None:
    """Say in one sentence why no claim covers the patient; None where one does."""
    if not claims:
        return f"The model makes no claim on {name}."
    age = patient.age_years
    if age is None:
        return "The patient's age is not known, so no claim of the model applies."
    of_age = [claim for claim in claims if claim.age_low <= age and math.floor(age) <= claim.age_high]
    if not of_age:
        spans = _or(f"{claim.age_low:g} to {claim.age_high:g}" for claim in claims)
        return (
            f"The model makes no claim on {name} for a patient of {_in_words(age)}; "
            f"it claims it for {spans} years."
        )
    views = {view for claim in of_age for view in claim.views}
    if patient.view in views or (patient.view is None and views >= _VIEWS):
        return None
    claimed = f"it claims it for {_or(sorted(views))}."
    if patient.view is None:
        return f"The view, PA or AP, is not known, so no claim of the model on {name} applies; {claimed}"
    return f"The model makes no claim on {name} for the view {patient.view}; {claimed}"


def _in_words(age: float) -> str:
    if age >= 2:
        return f"{math.floor(age)} years"
    months = math.floor(age * 12)
    return {0: "less than a month", 1: "1 month"}.get(months, f"{months} months")


def _or(parts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(parts))
