from __future__ import annotations

import numpy as np
import pytest

from training.corpus import Film
from training.evaluate import HeadScores, measure, subsets


def film(number, label, cohort="adult", source="here"):
    return Film(
        patient=f"p{number // 2}",
        label=label,
        source=source,
        licence="CC0",
        split="test",
        cohort=cohort,
        pixels=np.zeros((2, 2), np.uint8),
    )


def judged(*rows):
    """Rows of a true label and the score of covid19."""
    films = [film(number, label) for number, (label, _) in enumerate(rows)]
    scores = {f: np.array([score, 1 - score]) for f, (_, score) in zip(films, rows, strict=True)}
    head = HeadScores(
        head="binary", labels=("covid19", "bacterial_pneumonia"), thresholds=(0.7, 0.5), scores=scores
    )
    return films, {metric.name: metric for metric in measure("test", films, head)}


def test_figures_are_counted_by_hand():
    _, figures = judged(
        ("covid19", 0.9),
        ("covid19", 0.6),
        ("covid19", 0.2),
        ("bacterial_pneumonia", 0.4),
        ("normal", 0.9),
    )
    assert figures["accuracy"].value == 0.75
    assert figures["balanced accuracy"].value == pytest.approx(0.833)
    assert figures["AUROC of covid19"].value == pytest.approx(0.667)
    assert figures["sensitivity of covid19 at its threshold"].value == pytest.approx(0.333)
    assert figures["specificity of covid19 at its threshold"].value == 1
    assert (figures["accuracy"].images, figures["accuracy"].patients) == (4, 2)
    assert figures["sensitivity of covid19 at its threshold"].images == 3


def test_perfection_on_few_patients_is_not_certain():
    _, figures = judged(*[("covid19", 0.9), ("covid19", 0.8)] * 5)
    assert figures["accuracy"].value == 1
    assert figures["accuracy"].low == pytest.approx(0.025 ** (1 / 5), abs=1e-3)
    assert "AUROC of covid19" not in figures


def test_intervals_hold_the_figure_and_shrink_with_patients():
    rows = [("covid19", 0.9), ("bacterial_pneumonia", 0.9), ("covid19", 0.9), ("bacterial_pneumonia", 0.1)]
    widths = []
    for times in (3, 30):
        _, figures = judged(*rows * times)
        accuracy = figures["accuracy"]
        assert accuracy.low <= accuracy.value <= accuracy.high
        widths.append(accuracy.high - accuracy.low)
    assert widths[1] < widths[0] / 2


def test_a_group_without_films_of_the_head_has_no_figures():
    films, figures = judged(("normal", 0.5))
    assert films
    assert figures == {}


def test_adults_and_sources_are_reported_alone():
    adult, child = film(0, "covid19"), film(2, "normal", cohort="paediatric", source="there")
    groups = subsets({"val": (adult,), "test": (child,)})
    assert groups == {
        "test": (child,),
        "test, adults": (),
        "val and test": (adult, child),
        "val and test, adults": (adult,),
        "val and test, here": (adult,),
        "val and test, there": (child,),
    }
