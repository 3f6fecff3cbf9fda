from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import score_tables as made

from training.claims import claims, verdicts
from training.evaluation import evaluate


def claimed(table):
    return {(c.films, c.head, c.label): c for c in claims(evaluate(table), "held-out films")}


def reasons(table):
    return {(v.cohort, v.head, v.label): v.reason for v in verdicts(evaluate(table), "held-out films")}


def test_a_class_that_beats_every_baseline_is_claimed_for_its_cohort_alone():
    found = claimed(made.judged_cohorts())
    adult, child = "held-out films, adult", "held-out films, paediatric"
    assert set(found) == {
        *((adult, "binary", label) for label in made.HEADS["binary"]),
        *((adult, "multiclass", label) for label in made.HEADS["multiclass"]),
        *((child, "multiclass", label) for label in ("bacterial_pneumonia", "normal")),
    }
    claim = found[adult, "multiclass", "covid19"]
    assert (claim.age_low, claim.age_high, claim.views) == (18, 120, ("PA", "AP"))
    assert (claim.positives, claim.others, claim.figure, claim.baseline) == (40, 80, "AUROC", "size")
    assert claim.baseline_value + claim.gain_low <= claim.value
    assert claim.gain_low > 0
    child_claim = found[child, "multiclass", "normal"]
    assert (child_claim.age_low, child_claim.age_high, child_claim.views) == (1, 5, ("AP",))


def test_a_class_of_too_few_films_is_not_claimed():
    table = made.judged_cohorts(films_of_each=29)
    assert claimed(table) == {}
    assert "29 films of the class and 58 others" in reasons(table)["adult", "multiclass", "covid19"]


def test_a_model_no_better_than_a_baseline_claims_nothing():
    table = made.judged_cohorts(lead=1.0, baseline_lead=1.0)
    rival = dataclasses.replace(table.baselines[0], heads=table.heads)
    table = table.with_baselines([rival])
    assert claimed(table) == {}
    assert "not surely above" in reasons(table)["adult", "multiclass", "normal"]


def test_one_good_baseline_of_the_cohort_is_enough_to_withhold():
    table = made.judged_cohorts()
    cohort = dataclasses.replace(table.baselines[0], cohort="adult", heads=table.heads)
    found = claimed(table.with_baselines([*table.baselines, cohort]))
    assert {films for films, _, _ in found} == {"held-out films, paediatric"}


def test_without_baselines_nothing_is_claimed():
    table = made.judged_cohorts().with_baselines([])
    assert claimed(table) == {}
    assert "no trivial baseline" in reasons(table)["adult", "multiclass", "covid19"]


def recast(table, **changes):
    """The children with other facts."""
    cases = tuple(
        dataclasses.replace(case, **changes) if case.cohort == "paediatric" else case for case in table.cases
    )
    return dataclasses.replace(table, cases=cases)


def test_ages_of_the_manifest_bound_a_claim_for_children():
    table = made.judged_cohorts()
    rng = np.random.default_rng(0)
    cases = tuple(
        dataclasses.replace(case, age=float(rng.uniform(2, 9.9))) if case.cohort == "paediatric" else case
        for case in table.cases
    )
    claim = claimed(dataclasses.replace(table, cases=cases))[
        "held-out films, paediatric", "multiclass", "normal"
    ]
    assert (claim.age_low, claim.age_high) == (2, 9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"source": "nobody knows"}, "ages"), ({"view": ""}, "views"), ({"view": "lateral"}, "views")],
)
def test_an_unknown_population_is_not_claimed(changes, reason):
    table = recast(made.judged_cohorts(), **changes)
    assert {films for films, _, _ in claimed(table)} == {"held-out films, adult"}
    assert reason in reasons(table)["paediatric", "multiclass", "normal"]


def test_a_view_of_few_films_is_not_claimed():
    table = made.judged_cohorts()
    seen = iter(["PA"] * 29)
    cases = tuple(
        dataclasses.replace(case, view=next(seen, case.view)) if case.cohort == "paediatric" else case
        for case in table.cases
    )
    claim = claimed(dataclasses.replace(table, cases=cases))[
        "held-out films, paediatric", "multiclass", "normal"
    ]
    assert claim.views == ("AP",)
