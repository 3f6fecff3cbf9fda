from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.errors import BundleError
from cxr_pacs.inference import bundled, load_bundle
from cxr_pacs.inference.bundle import pack_weights


def test_identity_comes_from_the_manifest(toy):
    identity = load_bundle(toy).identity
    assert (identity.name, identity.version) == ("toy", "0.0.1")
    assert identity.preprocessing == "squash-area-64"
    assert identity.intended_use == "Tests only"


def test_digest_covers_manifest_and_weights(toy):
    written = (toy / "bundle.toml").read_bytes() + (toy / "weights.npz").read_bytes()
    first = load_bundle(toy).identity.digest
    assert first == hashlib.sha256(written).hexdigest()
    manifest = toy / "bundle.toml"
    manifest.write_text(manifest.read_text() + "# one comment more\n")
    assert load_bundle(toy).identity.digest != first


def test_a_label_has_one_code_in_all_heads(toy):
    manifest = toy / "bundle.toml"
    manifest.write_text(manifest.read_text().replace('value = "840539006"', 'value = "1"', 1))
    with pytest.raises(BundleError, match="two heads give one label different codes"):
        load_bundle(toy)


def test_each_class_is_in_the_identity_once(toy):
    classes = load_bundle(toy).identity.classes
    assert [(c.label, c.value, c.name) for c in classes] == [
        ("covid19", "840539006", "COVID-19"),
        ("bacterial_pneumonia", "53084003", "bacterial pneumonia"),
        ("normal", "17621005", "normal"),
    ]


def test_a_bundle_without_claims_claims_nothing(toy):
    manifest = toy / "bundle.toml"
    manifest.write_text(manifest.read_text().partition("\n[[claims]]")[0])
    assert load_bundle(toy).manifest.claims == ()


@pytest.fixture
def with_lungs(tmp_path):
    return write_toy_bundle(tmp_path / "lungs", lungs="lung-fields-area")


def test_a_lung_network_is_loaded_and_part_of_the_digest(with_lungs):
    bundle = load_bundle(with_lungs)
    assert bundle.manifest.preprocessing.lung_fields_only
    assert bundle.lungs["lungs/kernel"].shape == (1, 1, 2, 2)
    written = b"".join((with_lungs / f).read_bytes() for f in ("bundle.toml", "weights.npz", "lungs.npz"))
    assert bundle.identity.digest == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("widths = [2, 2]", "widths = [2, 3]", r"lungs\.npz: weight down1a_conv/kernel is"),
        ("widths = [2, 2]", "widths = []", r"lungs\.widths"),
        ("size = 32", "size = 33", "lungs: .*halved"),
        ('file = "lungs.npz"', 'file = "weights.npz"', "lungs.file"),
        ('file = "lungs.npz"', 'file = "other.npz"', r"other\.npz cannot be read"),
    ],
)
def test_a_lung_network_that_does_not_fit_is_refused(with_lungs, old, new, problem):
    manifest = with_lungs / "bundle.toml"
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(BundleError, match=problem):
        load_bundle(with_lungs)


def test_changed_lung_weights_are_refused(with_lungs):
    with (with_lungs / "lungs.npz").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"lungs\.npz: its SHA-256 is .*lungs\.sha256"):
        load_bundle(with_lungs)


def test_equal_weights_give_equal_bytes(toy):
    assert pack_weights(load_bundle(toy).weights) == (toy / "weights.npz").read_bytes()


REFUSALS = [
    ('name = "toy"', 'name = ""', "name"),
    ('version = "0.0.1"', 'version = "first"', "version"),
    ('manufacturer = "cxr-pacs tests"', 'manufacturer = "a\\\\b"', "manufacturer"),
    ('device_uid = "2.25.', 'device_uid = "2.025.', "device_uid"),
    ('intended_use = "Tests only"', "", "intended_use"),
    ('licence = "Apache-2.0"', "licence = 2", "licence"),
    ("limitations = [", "limitations = []\nothers = [", "limitations"),
    ('layout = "resnet-v1"', 'layout = "resnet-v2"', "network.layout"),
    ('layout = "resnet-v1"', 'layout = "efficientnet-lite0"', "network"),
    ("stages = [1, 1, 1, 1]", "stages = []", "network"),
    ("stages = [1, 1, 1, 1]", "stages = [1, 0]", "network.stages.1"),
    ("width = 2", "width = 0", "network.width"),
    ("width = 2", "width = 2\nmembers = 1", "network.members"),
    ("squash-area-64", "letterbox-64", "preprocessing.identifier"),
    ("squash-area-64", "squash-area-16", "preprocessing.identifier"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [0.0]", "preprocessing.mean"),
    ("deviation = [1.0, 1.0, 1.0]", "deviation = [1.0, 0.0, 1.0]", "preprocessing.deviation.1"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [0.0, nan, 0.0]", "preprocessing.mean.1"),
    ('file = "weights.npz"', 'file = "../weights.npz"', "weights.file"),
    ('sha256 = "', 'sha256 = "0', "weights.sha256"),
    ("temperature = 2.0", "temperature = 0.0", "heads.1.temperature"),
    ("threshold = 0.4", "threshold = 1.0", "heads.1.labels.0.threshold"),
    ('chosen = "by hand"', 'chosen = ""', "heads.0.labels.0.chosen"),
    ('value = "840539006"', 'value = ""', "heads.0.labels.0.code.value"),
    ('name = "multiclass"\ntemp', 'name = "binary"\ntemp', "heads"),
    ('name = "normal"', 'name = "covid19"', "heads"),
    ("sources = [{", "source = [{", "training.source"),
    ('licences = ["none"]', "licences = []", "training.sources.0.licences"),
    ('head = "multiclass"', 'head = "ternary"', "metrics"),
    ("value = 1.0", "value = 1.5", "metrics.0.value"),
    ("[training]", "[training]\ncolour = 1", "training.colour"),
    ("squash-area-64", "lung-fields-area-64", "lungs"),
    ('label = "normal"', 'label = "oedema"', "claims"),
    ("age_low = 0", "age_low = 121", "claims.0"),
    ('views = ["PA", "AP"]', 'views = ["LL"]', "claims.0.views.0"),
    ('views = ["PA", "AP"]', "views = []", "claims.0.views"),
    ("positives = 30", "positives = 29", "claims.0.positives"),
    ("others = 30", "others = 29", "claims.0.others"),
    ("gain_low = 0.1", "gain_low = 0.0", "claims.0.gain_low"),
    ("value = 0.9", "value = 0.7", "claims.0"),
]


@pytest.mark.parametrize(
    ("old", "new", "field"), REFUSALS, ids=[f"{f}-{i}" for i, (*_, f) in enumerate(REFUSALS)]
)
def test_a_wrong_field_is_refused_by_file_and_name(toy, old, new, field):
    manifest = toy / "bundle.toml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))
    with pytest.raises(BundleError, match=rf"bundle\.toml.*{re.escape(field)}"):
        load_bundle(toy)


@pytest.mark.parametrize("written", [b"name = ", b"\xff\xfe"])
def test_a_manifest_that_is_not_toml_is_refused(toy, written):
    (toy / "bundle.toml").write_bytes(written)
    with pytest.raises(BundleError, match=r"bundle\.toml is not TOML"):
        load_bundle(toy)


@pytest.mark.parametrize("file", ["bundle.toml", "weights.npz"])
def test_a_missing_file_is_named(toy, file):
    (toy / file).unlink()
    with pytest.raises(BundleError, match=f"{file} cannot be read"):
        load_bundle(toy)


def test_changed_weights_are_refused(toy):
    with (toy / "weights.npz").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"\x00\x01")
    with pytest.raises(BundleError, match=r"weights\.npz: its SHA-256 is"):
        load_bundle(toy)


def test_weights_that_are_no_archive_are_refused(repack):
    with pytest.raises(BundleError, match=r"weights\.npz is not an archive"):
        load_bundle(repack(b"not an archive"))


def test_weights_that_could_run_code_are_refused(toy, repack):
    packed = io.BytesIO()
    np.savez(packed, **{**load_bundle(toy).weights, "binary/bias": np.array([print, None], dtype=object)})
    with pytest.raises(BundleError, match=r"weights\.npz is not an archive of plain NumPy arrays"):
        load_bundle(repack(packed.getvalue()))


def changed(weights, name, array):
    return {
        key: array if key == name else value
        for key, value in weights.items()
        if key != name or array is not None
    }


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("conv3_block1_2_conv/kernel", None, "conv3_block1_2_conv/kernel is missing"),
        ("conv1_bn/gamma", np.ones(3), r"conv1_bn/gamma is \(3,\), the network needs \(2,\)"),
        ("binary/bias", np.array([0.0, np.inf]), "binary/bias holds a value that is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_layer(toy, repack, name, array, problem):
    with pytest.raises(BundleError, match=problem):
        load_bundle(repack(changed(load_bundle(toy).weights, name, array)))


def test_an_extra_weight_is_refused(toy, repack):
    weights = {**load_bundle(toy).weights, "conv9/kernel": np.zeros(1)}
    with pytest.raises(BundleError, match="conv9/kernel belongs to no layer"):
        load_bundle(repack(weights))


def test_single_precision_is_kept(toy, repack):
    weights = {name: array.astype(np.float32) for name, array in load_bundle(toy).weights.items()}
    weights["binary/bias"] += np.float32(1e-6)
    kept = load_bundle(repack(pack_weights(weights, np.float32))).weights
    assert {array.dtype for array in kept.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(kept["binary/bias"], weights["binary/bias"])


def test_weights_of_another_precision_are_refused(toy, repack):
    packed = io.BytesIO()
    np.savez(packed, **{name: array.astype(np.float64) for name, array in load_bundle(toy).weights.items()})
    with pytest.raises(BundleError, match="is float64, not float16 or float32"):
        load_bundle(repack(packed.getvalue()))


def test_an_unknown_bundle_names_those_that_come_along():
    with pytest.raises(BundleError, match=r"no shipped bundle 'missing'.*covid-pneumonia-resnet50"):
        bundled("missing")


@pytest.mark.parametrize("written", ["toy", "./toy", "{parent}/toy"])
def test_a_bundle_may_be_named_by_its_path(toy, monkeypatch, written):
    monkeypatch.chdir(toy.parent)
    found = bundled(written.format(parent=toy.parent))
    assert found.resolve() == toy.resolve()
    assert load_bundle(found).identity.name == "toy"


@pytest.mark.parametrize("written", ["empty", "./missing", "covid-pneumonia-resnet50/"])
def test_a_path_without_a_bundle_is_named_whole(tmp_path, monkeypatch, written):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    sought = re.escape(str(tmp_path / written / "bundle.toml"))
    with pytest.raises(BundleError, match=rf"{sought}.*shipped.*covid-pneumonia-resnet50"):
        bundled(written)


@pytest.mark.parametrize(
    ("name", "layout", "members"),
    [
        ("covid-pneumonia-resnet50", "resnet-v1", None),
        ("covid-pneumonia-efficientnet-lite0", "efficientnet-lite0", 4),
    ],
)
def test_each_shipped_bundle_is_whole_and_states_its_figures(name, layout, members):
    bundle = load_bundle(bundled(name))
    manifest = bundle.manifest
    assert (manifest.name, manifest.network.layout) == (name, layout)
    assert manifest.network.stages in {(), (3, 4, 6, 3)}
    assert manifest.network.members == members
    assert [(head.name, len(head.labels)) for head in manifest.heads] == [("binary", 2), ("multiclass", 3)]
    stated = {(metric.head, metric.films, metric.name) for metric in manifest.metrics}
    for head in ("binary", "multiclass"):
        for films in ("test", "test, adult"):
            assert {(head, films, "accuracy"), (head, films, "balanced accuracy")} <= stated
    assert all(metric.low <= metric.value <= metric.high for metric in manifest.metrics)
    assert any("NC" in licence for source in manifest.training.sources for licence in source.licences)
    assert "ommercial" in manifest.licence
    assert manifest.intended_use == "Research use only"
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) < 60e6


def test_importing_the_package_imports_no_framework():
    program = "import sys, cxr_pacs.inference; print({'tensorflow', 'keras'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
