from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import score_tables as made
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from training.evaluation import evaluate, metrics
from training.evaluation.document import document
from training.evaluation.evaluate import judge, subsets
from training.evaluation.figures import measure, patient_draws

LABELS = made.HEADS["multiclass"]


def figures_of(table, row="all", head="binary"):
    return evaluate(table).rows[row].heads[head].figures


def test_figures_are_counted_by_hand():
    figures = figures_of(
        made.binary(
            ("covid19", 0.9),
            ("covid19", 0.6),
            ("covid19", 0.2),
            ("bacterial_pneumonia", 0.4),
            ("normal", 0.9),
            thresholds=(0.7, 0.5),
        )
    )
    values = {key: None if figure is None else figure.value for key, figure in figures.items()}
    assert values["accuracy", ""] == 0.75
    assert values["balanced_accuracy", ""] == pytest.approx(5 / 6)
    assert values["auroc", "covid19"] == pytest.approx(2 / 3)
    assert values["auroc", "bacterial_pneumonia"] == pytest.approx(2 / 3)
    assert values["sensitivity", "covid19"] == pytest.approx(2 / 3)
    assert values["sensitivity_at_threshold", "covid19"] == pytest.approx(1 / 3)
    assert values["specificity_at_threshold", "covid19"] == 1
    assert values["ppv", "covid19"] == 1
    assert values["npv", "covid19"] == 0.5
    assert values["f1", "covid19"] == pytest.approx(0.8)
    assert values["calibration_error", ""] == pytest.approx(abs((0.9 + 0.6 + 0.8 + 0.6) / 4 - 0.75))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 9)), min_size=12, max_size=40))
def test_figures_agree_with_scikit_learn(rows):
    rows = [*((label, 3) for label in LABELS), *rows]
    cases = tuple(made.case(i, label) for i, (label, _) in enumerate(rows))
    rng = np.random.default_rng(sum(level for _, level in rows))
    raw = rng.integers(1, 5, (len(rows), 3)).astype(float)
    raw[:, 0] += [level for _, level in rows]
    table = made.table(cases, (made.scores("multiclass", LABELS, raw / raw.sum(axis=1, keepdims=True)),))
    figures = figures_of(table, head="multiclass")
    shares, true = table.heads[0].probabilities, [LABELS.index(label) for label, _ in rows]
    decided = shares.argmax(axis=1)
    assert figures["balanced_accuracy", ""].value == pytest.approx(balanced_accuracy_score(true, decided))
    for i, label in enumerate(LABELS):
        here, called = np.array(true) == i, decided == i
        assert figures["sensitivity", label].value == pytest.approx(recall_score(here, called))
        assert figures["auroc", label].value == pytest.approx(roc_auc_score(here, shares[:, i]))
        assert figures["f1", label].value == pytest.approx(f1_score(here, called, zero_division=0))
        if called.any():
            assert figures["ppv", label].value == pytest.approx(precision_score(here, called))


def test_all_resamples_at_once_are_the_figures_of_each():
    table = made.judged_cohorts(lead=1.0, films_of_each=12)
    judged = judge(table, table.head("multiclass"), np.arange(len(table.cases)))
    draws = patient_draws(judged.patients, 6, seed=3)
    together = measure(judged, draws)
    for number, draw in enumerate(draws):
        rows = np.repeat(np.arange(len(draw)), draw.astype(int))
        resample = dataclasses.replace(
            judged,
            probabilities=judged.probabilities[rows],
            thresholds=judged.thresholds[rows],
            true=judged.true[rows],
            patients=judged.patients[rows],
        )
        alone = measure(resample, np.ones((1, len(rows)), np.float32))
        for key, values in alone.items():
            if key[0] != "calibration_error":  # its number of bins follows the number of films
                assert together[key][number] == pytest.approx(values[0], rel=1e-5), key


def test_a_patients_films_are_drawn_together():
    patients = np.array([0, 0, 1, 2, 2, 2])
    draws = patient_draws(patients, 200, seed=0)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 3] == draws[:, 5]).all()
    assert (draws[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(draws, axis=0)) > 5


def test_perfection_on_few_patients_is_not_certain():
    figures = figures_of(made.binary(*[("covid19", 0.9), ("covid19", 0.8)] * 5))
    assert figures["accuracy", ""].value == 1
    assert figures["accuracy", ""].low == pytest.approx(0.025 ** (1 / 5))
    figures = figures_of(made.binary(*[("covid19", 0.9)] * 20, *[("bacterial_pneumonia", 0.1)] * 4))
    assert figures["auroc", "covid19"].low == pytest.approx(0.025 ** (1 / 2)), (
        "two patients of the rarer class"
    )
    assert figures["sensitivity", "covid19"].low == pytest.approx(0.025 ** (1 / 10))


def test_a_small_class_makes_balanced_accuracy_unsure():
    wrong_once = [*[("covid19", 0.9)] * 199, ("covid19", 0.1)]
    widths = []
    for patients in (2, 50):
        figures = figures_of(made.binary(*wrong_once, *[("bacterial_pneumonia", 0.1)] * 2 * patients))
        balanced, small = figures["balanced_accuracy", ""], figures["sensitivity", "bacterial_pneumonia"]
        assert balanced.low <= balanced.value - (1 - small.low) / 2
        widths.append(balanced.high - balanced.low)
    assert widths[0] > 5 * widths[1]


def test_what_one_class_alone_cannot_tell_is_left_out():
    figures = figures_of(made.binary(*[("covid19", 0.9), ("covid19", 0.2)] * 5))
    unmeasured = {key for key, figure in figures.items() if figure is None}
    assert unmeasured == {
        ("balanced_accuracy", ""),
        ("auroc", "covid19"),
        ("auroc", "bacterial_pneumonia"),
        *((name, label) for name in ("ppv", "npv", "f1") for label in made.HEADS["binary"]),
        ("sensitivity", "bacterial_pneumonia"),
        ("sensitivity_at_threshold", "bacterial_pneumonia"),
        ("specificity", "covid19"),
        ("specificity_at_threshold", "covid19"),
    }
    assert figures["sensitivity", "covid19"].value == 0.5


def test_intervals_hold_the_figure_and_shrink_with_patients():
    rows = [("covid19", 0.9), ("bacterial_pneumonia", 0.9), ("covid19", 0.9), ("bacterial_pneumonia", 0.1)]
    widths = []
    for times in (3, 30):
        for figure in figures_of(made.binary(*rows * times)).values():
            assert figure is None or 0 <= figure.low <= figure.value <= figure.high <= 1
        accuracy = figures_of(made.binary(*rows * times))["accuracy", ""]
        widths.append(accuracy.high - accuracy.low)
    assert widths[1] < widths[0] / 2


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(80):
        right = rng.random(120) < 0.8
        rows = [("covid19", 0.9 if hit else 0.1) for hit in right]
        accuracy = figures_of(made.binary(*rows))["accuracy", ""]
        held += accuracy.low <= 0.8 <= accuracy.high
    assert held >= 70


def test_a_head_that_knows_no_film_is_left_out():
    evaluation = evaluate(made.binary(("normal", 0.5)))
    assert evaluation.rows["all"].heads == {}
    assert document(evaluation)["rows"]["all"] == {"n": 1, "patients": 1}


def test_a_class_for_all_else_takes_every_other_film():
    cases = tuple(made.case(i, label) for i, label in enumerate(LABELS))
    head = made.scores("covid", ("not_covid19", "covid19"), [[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    figures = figures_of(made.table(cases, (head,)), head="covid")
    assert figures["sensitivity", "not_covid19"].value == 0.5
    assert figures["sensitivity", "covid19"].value == 1


def test_rows_are_all_each_cohort_and_each_source():
    cases = (
        made.case(0, "covid19", cohort="adult?", source="a"),
        made.case(1, "covid19", cohort="", age=40.0, source="b"),
        made.case(2, "normal", cohort="", age=3.0, source="b"),
        made.case(3, "normal", cohort="", source=""),
    )
    rows = {name: films.tolist() for name, films in subsets(cases).items()}
    assert rows == {
        "all": [0, 1, 2, 3],
        "cohort=adult": [0, 1],
        "cohort=paediatric": [2],
        "source=a": [0],
        "source=b": [1, 2],
    }


def test_the_lead_is_paired_and_names_the_best_baseline():
    table = made.judged_cohorts(lead=2.0, baseline_lead=0.3)
    same = dataclasses.replace(table.baselines[0], name="itself", heads=table.heads)
    row = evaluate(table.with_baselines([*table.baselines, same])).rows["all"]
    for key in (("accuracy", ""), ("balanced_accuracy", ""), ("auroc", "normal")):
        gain = row.gains["multiclass"][key]
        assert gain.baseline == "itself"
        assert (gain.value, gain.low, gain.high) == (0, 0, 0), (
            "a model has no lead over itself, whatever is drawn"
        )
    ahead = evaluate(table).rows["all"].gains["multiclass"]["balanced_accuracy", ""]
    assert 0 < ahead.low < ahead.value < ahead.high


def test_a_baseline_of_one_cohort_competes_there_alone():
    table = made.judged_cohorts()
    adult = dataclasses.replace(table.baselines[0], cohort="adult")
    rows = evaluate(table.with_baselines([adult])).rows
    assert {name for name, row in rows.items() if row.baselines} == {"cohort=adult", "source=here"}


def test_the_document_has_every_figure_in_its_place():
    written = json.loads(json.dumps(document(evaluate(made.judged_cohorts())), allow_nan=False))
    assert written["model"] == {"name": "made-up", "version": "1.0.0", "digest": "ab" * 32}
    assert written["manifest"]["digest"] == "cd" * 32
    assert set(written["rows"]) == {
        "all",
        "cohort=adult",
        "cohort=paediatric",
        "source=here",
        "source=kermany-paediatric",
    }
    overall = written["rows"]["all"]
    assert overall["n"] == 200
    assert overall["multiclass"]["accuracy"].keys() == {"value", "low", "high"}
    for figure in ("sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "sensitivity_at_threshold"):
        assert overall["multiclass"][figure].keys() == set(LABELS)
    assert np.sum(overall["multiclass"]["confusion"]["counts"]) == 200
    assert overall["binary"]["n"] == 120
    children = written["rows"]["cohort=paediatric"]["multiclass"]
    assert children["sensitivity"]["covid19"] is None
    assert written["baselines"]["size"]["rows"]["all"].keys() == overall.keys()
    assert written["gain"]["cohort=adult"]["multiclass"]["auroc"]["covid19"]["baseline"] == "size"


def test_equal_tables_give_equal_documents():
    first, second = (document(evaluate(made.judged_cohorts())) for _ in range(2))
    assert first == second


def test_the_bundles_figures_are_the_principal_ones():
    stated = {(m.head, m.films, m.name): m for m in metrics(evaluate(made.judged_cohorts()), "test")}
    assert ("multiclass", "test", "accuracy") in stated
    assert ("multiclass", "test, adult", "balanced accuracy") in stated
    assert ("multiclass", "test, kermany-paediatric", "AUROC of normal") in stated
    assert stated["binary", "test", "sensitivity of covid19"].images == 40
    assert {name.split(" of ")[0] for _, _, name in stated} == {
        "accuracy",
        "balanced accuracy",
        "sensitivity",
        "AUROC",
    }
