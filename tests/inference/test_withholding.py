"""What is not claimed for a patient is withheld with a reason, never told as a low score."""

from __future__ import annotations

import numpy as np
import pytest
from bright_engine import LABELS, BrightEngine, claim
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.inference import Patient, withhold

FINDINGS = BrightEngine().analyse(np.full((64, 64), 0.5, np.float32)).findings
CLASSES = tuple((score.head, score.label) for score in FINDINGS.scores)
CHILDREN = claim("multiclass", "bacterial_pneumonia", 1, 5, ("AP",))
ADULTS = claim("multiclass", "covid19", 18, 120)


def reason(claims, age, view="AP", label="bacterial_pneumonia"):
    """Why the multiclass head's `label` is withheld; None when it is told."""
    findings = withhold(FINDINGS, claims, Patient(age_years=age, view=view))
    found = [w.reason for w in findings.withheld if (w.head, w.label) == ("multiclass", label)]
    assert bool(found) != (label in {score.label for score in findings.head("multiclass")})
    return found[0] if found else None


@given(
    claimed=st.sets(st.sampled_from(CLASSES)),
    age=st.none() | st.floats(0, 130),
    view=st.sampled_from(["PA", "AP", None]),
    span=st.tuples(st.integers(0, 60), st.integers(60, 120)),
)
def test_every_class_is_told_or_withheld_with_a_reason(claimed, age, view, span):
    claims = [claim(head, label, *span) for head, label in sorted(claimed)]
    found = withhold(FINDINGS, claims, Patient(age_years=age, view=view))
    told = [(score.head, score.label) for score in found.scores]
    withheld = [(one.head, one.label) for one in found.withheld]
    assert sorted(told + withheld) == sorted(CLASSES)
    assert set(told) <= claimed
    assert all(one.reason.endswith(".") for one in found.withheld)
    if age is not None and span[0] <= age < span[1] + 1:
        assert set(told) == claimed
    else:
        assert told == []
    assert all(score in FINDINGS.scores for score in found.scores), "what is told is not changed"


def test_a_bundle_without_claims_tells_nothing():
    found = withhold(FINDINGS, (), Patient(age_years=54, view="PA"))
    assert found.scores == ()
    assert found.principal is None
    assert len(found.withheld) == 5
    assert found.withheld[0].reason == "The model makes no claim on COVID-19."


@pytest.mark.parametrize(
    ("age", "words"),
    [(54.3, "54 years"), (6.0, "6 years"), (0.99, "11 months"), (0.1, "1 month"), (0.0, "less than a month")],
)
def test_another_age_is_named_with_those_that_are_claimed(age, words):
    assert reason([CHILDREN], age) == (
        f"The model makes no claim on bacterial pneumonia for a patient of {words}; "
        "it claims it for 1 to 5 years."
    )


@pytest.mark.parametrize("age", [1.0, 3, 5.0, 5.99])
def test_years_are_completed_ones(age):
    assert reason([CHILDREN], age) is None


def test_several_spans_of_age():
    both = [CHILDREN, claim("multiclass", "bacterial_pneumonia", 18, 120)]
    assert reason(both, 3) is None
    assert reason(both, 40) is None
    assert reason(both, 10).endswith("it claims it for 1 to 5 or 18 to 120 years.")


def test_no_claim_covers_an_unknown_age():
    assert reason([CHILDREN], None) == "The patient's age is not known, so no claim of the model applies."


def test_the_view_decides_only_where_the_claims_do_not_span_both():
    assert reason([CHILDREN], 3, "PA") == (
        "The model makes no claim on bacterial pneumonia for the view PA; it claims it for AP."
    )
    assert reason([CHILDREN], 3, None) == (
        "The view, PA or AP, is not known, so no claim of the model on bacterial pneumonia applies; "
        "it claims it for AP."
    )
    other = claim("multiclass", "bacterial_pneumonia", 1, 5, ("PA",))
    assert reason([CHILDREN, other], 3, None) is None
    assert reason([CHILDREN, claim("multiclass", "bacterial_pneumonia", 18, 99, ("PA",))], 3, None)


def test_a_claim_is_of_one_class_of_one_head():
    found = withhold(FINDINGS, [ADULTS], Patient(age_years=54, view="PA"))
    assert [(s.head, s.label) for s in found.scores] == [("multiclass", "covid19")]
    assert found.principal.label == "covid19"
    assert found.labels("multiclass") == LABELS["multiclass"]
    assert found.head("binary") == ()


def test_the_picture_is_of_the_widest_head_that_tells_anything():
    claims = [claim("binary", "covid19"), claim("binary", "bacterial_pneumonia")]
    found = withhold(FINDINGS, claims, Patient(age_years=54, view="PA"))
    assert found.principal.head == "binary"
    found = withhold(FINDINGS, [*claims, ADULTS], Patient(age_years=54, view="PA"))
    assert (found.principal.head, found.principal.label) == ("multiclass", "covid19")
