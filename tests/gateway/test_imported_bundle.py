"""DeepCOVID-XR's ResNet50 becomes a bundle that says what Keras says, and that the gateway serves."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from keras_files import deepcovid, save_weights
from pydicom.uid import Comprehensive3DSRStorage
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.evidence import ReadInstance
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.radiograph import Outcome
from cxr_pacs.settings import Settings
from training import cli

# Keras 3 reads its own variables in a way that NumPy 2 would rather not see.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CLAIMS = """
[[claims]]
head = "covid"
label = "covid19"
age_low = 18
age_high = 120
views = ["PA", "AP"]
films = "films of this site"
positives = 200
others = 500
figure = "AUROC"
value = 0.9
low = 0.87
high = 0.93
baseline = "logistic regression on an 8x8 thumbnail"
baseline_value = 0.7
gain_low = 0.1
"""


def import_(file, out, *more):
    words = ["import", str(file), "--out", str(out), "--name", "deepcovid-xr", "--version", "1.0.0"]
    return cli.main([*words, *more])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("deepcovid") / "ResNet-50.h5"
    deepcovid(224, nested=False).save(path)
    return path


def keras_scores(network, pictures):
    """As the makers prepare pictures: 0..255 by 255, then ImageNet's mean and deviation of each channel."""
    images = np.stack([pictures] * 3, axis=-1) * 255
    return network.predict(((images / 255 - MEAN) / DEVIATION).astype(np.float32), verbose=0)[:, 0]


@pytest.mark.parametrize(
    ("size", "nested", "whole"),
    [(224, False, True), (224, True, False), (331, True, True), (331, False, False)],
    ids=["flat-model", "nested-weights", "nested-model", "flat-weights"],
)
def test_the_engine_says_what_keras_says(tmp_path, size, nested, whole):
    path = tmp_path / "covid_weights.h5"
    if whole:
        deepcovid(size, nested=nested).save(path)
        theirs = keras.models.load_model(path, compile=False)
    else:
        save_weights(deepcovid(size, nested=nested), path)
        theirs = deepcovid(size, nested=nested)
        for weight in theirs.weights:
            weight.assign(np.zeros(weight.shape))
        theirs.load_weights(path)
    assert import_(path, tmp_path / "bundle", *([] if whole else ["--size", str(size)])) == 0
    chest = synthetic_chest(size, size, 0)
    pictures = np.stack(
        [chest, 1 - chest, chest / 3, np.random.default_rng(0).random((size, size), np.float32)]
    )
    expected = keras_scores(theirs, pictures)
    assert np.ptp(expected) > 0.05
    assert 0.01 < expected.min() < expected.max() < 0.99
    engine = load_engine(load_bundle(tmp_path / "bundle"), "cpu")
    for picture, score in zip(pictures, expected, strict=True):
        positive, negative = engine.analyse(picture).findings.head("covid")
        assert (positive.label, negative.label) == ("covid19", "not_covid19")
        assert positive.score == pytest.approx(score, abs=1e-5)
        assert negative.score == pytest.approx(1 - score, abs=1e-5)


def test_the_gateway_serves_what_is_claimed_and_withholds_the_rest(file, tmp_path, capsys):
    (tmp_path / "claims.toml").write_text(CLAIMS)
    assert import_(file, tmp_path / "bundle", "--claims", str(tmp_path / "claims.toml")) == 0
    assert "nothing is claimed" not in capsys.readouterr().err
    reader = Reader(Settings(), load_engine(load_bundle(tmp_path / "bundle"), "cpu"))
    make_radiograph(PatientAge="054Y").save_as(tmp_path / "film.dcm")
    reading = reader.read(tmp_path / "film.dcm", 1e9)
    assert reading.decision.outcome is Outcome.ACCEPT
    assert [score.label for score in reading.findings.scores] == ["covid19"]
    assert [withheld.label for withheld in reading.findings.withheld] == ["not_covid19"]
    assert reading.heatmap.pixel_array.any()
    instance = ReadInstance(header=reading.header, findings=reading.findings, quality=reading.quality)
    report = reader.report([instance], [reading.heatmap], (), 1e9)
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert "840539006" in str(report)


def test_without_claims_nothing_is_said_of_anybody(file, tmp_path, capsys):
    assert import_(file, tmp_path / "bundle") == 0
    assert "nothing is claimed" in capsys.readouterr().err
    reader = Reader(Settings(), load_engine(load_bundle(tmp_path / "bundle"), "cpu"))
    make_radiograph(PatientAge="054Y").save_as(tmp_path / "film.dcm")
    findings = reader.read(tmp_path / "film.dcm", 1e9).findings
    assert findings.scores == ()
    assert {withheld.label for withheld in findings.withheld} == {"covid19", "not_covid19"}


def test_the_same_file_is_the_same_bundle_and_threshold_and_names_are_stated(file, tmp_path):
    more = ["--threshold", "0.3", "--manufacturer", "Their names", "--licence", "Theirs"]
    assert import_(file, tmp_path / "one", *more) == import_(file, tmp_path / "two", *more) == 0
    one, two = load_bundle(tmp_path / "one"), load_bundle(tmp_path / "two")
    assert one.identity == two.identity
    assert [label.threshold for label in one.manifest.heads[0].labels] == [0.3, 0.7]
    assert (one.manifest.manufacturer, one.manifest.licence) == ("Their names", "Theirs")
    assert one.manifest.preprocessing.identifier == "squash-area-224"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (CLAIMS.replace("positives = 200", "positives = 12"), r"claims\.toml: claims\.0\.positives: .*30"),
        (CLAIMS.replace('"covid19"', '"normal"'), r"claims\.toml: .*covid/normal is no class"),
        (CLAIMS + "sure = true", r"claims\.toml: claims\.0\.sure"),
        ("[[promises]]", r"claims\.toml: promises is unknown"),
        ("claims", r"claims\.toml is not TOML"),
        ("[[sources]]\nname = 'ours'", r"claims\.toml: training\.sources\.0\.citation"),
    ],
)
def test_claims_that_are_none_are_refused(file, tmp_path, capsys, said, problem):
    (tmp_path / "claims.toml").write_text(said)
    assert import_(file, tmp_path / "bundle", "--claims", str(tmp_path / "claims.toml")) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert re.search(problem, printed)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--size", "331"], "takes pictures of 224 x 224; leave out --size 331"),
        (["--threshold", "1.5"], "threshold"),
        (["--version", "one"], "version"),
        (["--claims", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_what_does_not_fit_the_file_is_refused(file, tmp_path, capsys, more, problem):
    assert import_(file, tmp_path / "bundle", *more) == 1
    assert problem in capsys.readouterr().err


def test_a_bundle_is_never_overwritten(file, tmp_path, capsys):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.toml").write_text("mine")
    assert import_(file, tmp_path / "bundle") == 1
    assert "is never overwritten" in capsys.readouterr().err
    assert (tmp_path / "bundle" / "bundle.toml").read_text() == "mine"


def test_weights_alone_need_the_side_of_the_input(tmp_path, capsys):
    network = deepcovid(224, nested=False)
    save_weights(network, tmp_path / "weights.h5")
    assert import_(tmp_path / "weights.h5", tmp_path / "bundle") == 1
    assert "give --size 224 or 331" in capsys.readouterr().err
    trunk = keras.Model(network.input, network.layers[-3].input)
    save_weights(trunk, tmp_path / "trunk.h5")
    assert import_(tmp_path / "trunk.h5", tmp_path / "bundle") == 1
    assert "has no layer last" in capsys.readouterr().err
