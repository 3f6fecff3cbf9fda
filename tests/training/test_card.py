from __future__ import annotations

import pytest
import score_tables as made
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle
from training.card import card
from training.claims import verdicts
from training.evaluation import evaluate


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return load_bundle(write_toy_bundle(tmp_path_factory.mktemp("toy"))).manifest


@pytest.fixture(scope="module")
def decided():
    """Adults are claimed, children of one class only."""
    return tuple(verdicts(evaluate(made.judged_cohorts(), resamples=200), "held-out films"))


def test_a_card_says_what_the_manifest_says(manifest, decided):
    written = card(manifest, decided)
    assert written.startswith("# toy 0.0.1\n")
    assert "never a diagnosis" in written
    for said in (
        manifest.intended_use,
        manifest.licence,
        manifest.device_uid,
        manifest.preprocessing.identifier,
        manifest.training.procedure,
        *manifest.limitations,
        *(licence for source in manifest.training.sources for licence in source.licences),
        *(source.citation for source in manifest.training.sources),
    ):
        assert said in written
    assert "### multiclass, one imagined film" in written
    assert "| accuracy | 1.000 [0.000, 1.000] | 1 | 1 |" in written
    assert "- multiclass, covid19: 0.400: by hand" in written


def test_every_class_of_every_cohort_has_a_verdict_with_its_reason(manifest, decided):
    rows = [line for line in card(manifest, decided).splitlines() if line.startswith(("| binary", "| multi"))]
    assert len(rows) == len(decided) == 10
    for verdict, row in zip(decided, rows, strict=True):
        claimed = "yes" if verdict.claim else "no"
        assert row == (
            f"| {verdict.head} | {verdict.label} | {verdict.cohort} | {claimed} | {verdict.reason} |"
        )
    assert {row.split(" | ")[3] for row in rows} == {"yes", "no"}


def test_tables_have_as_many_cells_in_every_row(manifest, decided):
    width = 0
    for line in card(manifest, decided).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        width = width or line.count("|")
        assert line.count("|") == width, line
