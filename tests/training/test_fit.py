from __future__ import annotations

import json

import numpy as np
import pytest

from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.inference.architecture import Architecture
from training import cli, loop
from training.augment import Augmentation
from training.corpus import read_corpus
from training.export import Fitted, Release, export
from training.splits import split_by_patient

ARCHITECTURE = Architecture(stages=(1, 1), width=4, heads=(("binary", 2), ("multiclass", 3)))
MILD = Augmentation(crop=0.1, turn=3, gamma=0.05, contrast=0.02)
STAGES = tuple(
    loop.Stage(size=size, passes=passes, learning_rate=3e-3, smoothing=0.05, augmentation=MILD)
    for size, passes in ((16, 1600), (32, 1600))
)
RELEASE = Release(
    name="small",
    version="1.2.3",
    manufacturer='The "makers"',
    intended_use="Tests only",
    licence="CC-BY-NC",
    limitations=("None\nthat matter; ünïcode",),
    procedure=loop.describe(STAGES),
    seed=4,
)


@pytest.fixture(scope="module")
def parts(corpus):
    return split_by_patient(read_corpus(corpus))


@pytest.fixture(scope="module")
def fitted(parts, tmp_path_factory):
    plan = loop.Plan(
        architecture=ARCHITECTURE, stages=STAGES, seed=4, out=tmp_path_factory.mktemp("checkpoints")
    )
    weights = loop.fit(parts["train"], plan)
    assert sorted(path.name for path in plan.out.iterdir()) == ["stage-1.npz", "stage-2.npz"]
    return Fitted(architecture=ARCHITECTURE, weights=weights, size=32)


@pytest.fixture(scope="module")
def bundle(fitted, parts, tmp_path_factory):
    return export(fitted, parts, RELEASE, tmp_path_factory.mktemp("small"))


def test_what_brightness_tells_is_learned_and_stated(bundle):
    stated = {(m.head, m.films, m.name): m.value for m in bundle.manifest.metrics}
    assert stated["multiclass", "test", "accuracy"] >= 0.9
    assert stated["binary", "test", "accuracy"] >= 0.9


def test_the_engine_says_what_the_manifest_states(bundle, parts):
    engine = load_engine(load_bundle(bundle.path), "cpu")
    right = [
        engine.analyse(film.p_values()).findings.leading("multiclass").label == film.label
        for film in parts["test"]
    ]
    stated = {(m.head, m.films, m.name): m.value for m in bundle.manifest.metrics}
    assert stated["multiclass", "test", "accuracy"] == pytest.approx(np.mean(right), abs=1e-3)


def test_the_manifest_survives_being_written(bundle, parts):
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.manufacturer) == ("small", "1.2.3", 'The "makers"')
    assert manifest.limitations == RELEASE.limitations
    assert {(s.name, s.licences) for s in manifest.training.sources} == {
        ("here", ("CC-BY-NC-4.0",)),
        ("there", ("CC-BY-4.0",)),
    }
    assert sum(s.images for s in manifest.training.sources) == len(parts["train"])
    assert {m.films for m in manifest.metrics} >= {
        "test",
        "test, adult",
        "test, paediatric",
        "test, here",
        "test, there",
    }


def test_other_weights_are_another_device(bundle, fitted, parts, tmp_path):
    again = export(fitted, parts, RELEASE, tmp_path / "again")
    assert again.identity == bundle.identity
    changed = {**fitted.weights, "binary/bias": fitted.weights["binary/bias"] + 1}
    other = export(
        Fitted(architecture=ARCHITECTURE, weights=changed, size=32), parts, RELEASE, tmp_path / "other"
    )
    assert other.identity.device_uid != bundle.identity.device_uid


def test_a_bundle_is_evaluated_to_what_it_states(bundle, corpus, tmp_path):
    written = tmp_path / "evaluation.json"
    arguments = ["--manifest", str(corpus), "--bundle", str(bundle.path), "--json", str(written)]
    assert cli.main(["evaluate", *arguments]) == 0
    rows = json.loads(written.read_text())["rows"]
    for metric in bundle.manifest.metrics:
        place = metric.films.removeprefix("test").removeprefix(", ")
        row = next(row for name, row in rows.items() if name.partition("=")[2] == place)
        figure, _, label = metric.name.lower().replace(" of ", "/").replace(" ", "_").partition("/")
        found = row[metric.head][figure][label] if label else row[metric.head][figure]
        assert (metric.value, metric.low, metric.high) == pytest.approx(tuple(found.values()), abs=6e-4)


def test_a_corpus_that_is_not_there_is_one_line(bundle, tmp_path, capsys):
    assert cli.main(["evaluate", "--manifest", str(tmp_path), "--bundle", str(bundle.path)]) == 1
    assert capsys.readouterr().err.startswith("cxr-train: ")
