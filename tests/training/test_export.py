from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import score_tables as made
from packed_films import ARCHITECTURE
from tiny import LUNG_LAYOUT, lungs_file

import training.export
from cxr_pacs.inference import load_bundle
from training.claims import claims
from training.corpus import CorpusError, read_corpus
from training.evaluation import evaluate
from training.export import Fitted, Lungs, Release, export
from training.run_folder import read_weights
from training.scoring import score
from training.splits import split_by_patient

RELEASE = Release(
    name="tiny",
    version="1.2.3",
    manufacturer="tests",
    intended_use="Tests only",
    licence="CC-BY-NC-4.0",
    limitations=("It is tiny.",),
    procedure="Weights at random.",
    seed=7,
)


@pytest.fixture(scope="module")
def parts(corpus):
    return split_by_patient(read_corpus(corpus))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    rng = np.random.default_rng(5)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in ARCHITECTURE.weight_shapes().items()
    }
    weights |= {name: np.ones_like(w) for name, w in weights.items() if name.endswith("moving_variance")}
    lungs = read_weights(lungs_file(tmp_path_factory.mktemp("lungs")))
    return Fitted(
        architecture=ARCHITECTURE, weights=weights, size=24, lungs=Lungs(layout=LUNG_LAYOUT, weights=lungs)
    )


@pytest.fixture(scope="module")
def crossval():
    folds = tuple(f"{'cd' * 32} fold {number}/2, seed 0" for number in (1, 2))
    return replace(made.judged_cohorts(), manifests=folds)


@pytest.fixture(scope="module")
def bundle(fitted, parts, crossval, tmp_path_factory):
    return export(fitted, parts, RELEASE, tmp_path_factory.mktemp("out") / "bundle", crossval)


def test_the_bundle_brings_the_lung_network_that_it_asks_for(bundle, fitted):
    manifest = load_bundle(bundle.path).manifest
    assert manifest.preprocessing.identifier == "lung-fields-area-24"
    assert manifest.lungs.network == LUNG_LAYOUT
    for name, weight in fitted.lungs.weights.items():
        np.testing.assert_allclose(bundle.lungs[name], weight, atol=1e-3)


def test_heads_lose_what_their_classes_have_alike_and_nothing_else(bundle, fitted):
    for head, _ in ARCHITECTURE.heads:
        kernel, given = bundle.weights[f"{head}/kernel"], fitted.weights[f"{head}/kernel"]
        np.testing.assert_allclose(kernel.sum(axis=1, dtype=np.float32), 0, atol=3e-3)
        np.testing.assert_allclose(np.diff(kernel, axis=1), np.diff(given, axis=1), atol=3e-3)


def test_claims_are_those_of_the_cross_validation(bundle, crossval):
    expected = claims(evaluate(crossval), "cross-validation by patient, out of fold")
    assert bundle.manifest.claims == expected
    assert {claim.films.rpartition(", ")[2] for claim in expected} == {"adult", "paediatric"}


def test_figures_are_of_the_test_split_the_cross_validation_and_the_lungs(bundle):
    found = {(metric.films, metric.name): metric for metric in bundle.manifest.metrics}
    assert found["test", "accuracy"].images == 18
    assert found["cross-validation", "accuracy"].images == 200
    assert found["cross-validation, adult", "balanced accuracy"].images == 120
    assert 0 < found["test", "median share of the activation map in the lungs"].value <= 1
    assert any("lungs blanked" in films for films, _ in found)


def test_thresholds_are_chosen_on_the_validation_films(bundle, parts):
    table = score(bundle, parts["val"])
    for head in table.heads:
        stated = next(one for one in bundle.manifest.heads if one.name == head.head)
        for index, label in enumerate(stated.labels):
            of_class = np.array([case.label == label.name for case in table.cases])
            passed = head.probabilities[:, index] >= label.threshold
            assert passed[of_class].mean() >= 0.9
            assert "validation" in label.chosen


def test_sources_name_the_training_films_alone(bundle, parts):
    sources = bundle.manifest.training.sources
    assert sum(source.images for source in sources) == len(parts["train"])
    assert {licence for source in sources for licence in source.licences} == {"CC-BY-NC-4.0", "CC-BY-4.0"}


def test_the_card_lies_beside_and_names_no_patient(bundle, parts):
    written = (bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "It is tiny." in written
    assert "| multiclass | covid19 | adult | yes |" in written
    assert bundle.manifest.maps is None, "no class leads with enough patients"
    assert "no side is read from them" in written
    manifest = (bundle.path / "bundle.toml").read_text(encoding="utf-8")
    for film in (film for part in parts.values() for film in part):
        assert film.patient not in written + manifest


def test_what_cannot_be_stated_is_told_before_any_work(fitted, parts, crossval, tmp_path):
    out = tmp_path / "bundle"
    for changes, said in (({"version": "1.0"}, "version"), ({"name": "My Model"}, "name")):
        with pytest.raises(CorpusError, match=f"cannot state this {said}"):
            export(fitted, parts, replace(RELEASE, **changes), out)
    two = replace(crossval, heads=crossval.heads[:1])
    with pytest.raises(CorpusError, match="other heads"):
        export(fitted, parts, RELEASE, out, two)
    first, second = crossval.manifests
    for manifests in ((first,), (first, second.replace("seed 0", "seed 1")), (f"{'cd' * 32} split test",)):
        with pytest.raises(CorpusError, match="not those of every fold"):
            export(fitted, parts, RELEASE, out, replace(crossval, manifests=manifests))
    assert not out.exists()


def test_whole_films_need_no_lung_network_and_claims_need_enough_films(fitted, parts, tmp_path):
    bundle = export(replace(fitted, lungs=None), parts, RELEASE, tmp_path / "bundle")
    assert bundle.manifest.preprocessing.identifier == "squash-area-24"
    assert bundle.manifest.claims == ()
    assert not (tmp_path / "bundle" / "lungs.npz").exists()
    assert "at least 30 of each are needed" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("held_out", "films"),
    [
        (None, "splits val and test"),
        ("splits val and test", "splits val and test"),
        ("fold 2/5, seed 0", "val and test of fold 2/5, seed 0"),
    ],
)
def test_claims_say_on_which_films_they_rest(fitted, parts, tmp_path, monkeypatch, held_out, films):
    told = []
    monkeypatch.setattr(training.export, "claims", lambda _, films: told.append(films) or ())
    release = replace(RELEASE, held_out=held_out)
    bundle = export(replace(fitted, lungs=None), parts, release, tmp_path / "bundle")
    assert told == [films]
    assert bundle.manifest.training.held_out == held_out
