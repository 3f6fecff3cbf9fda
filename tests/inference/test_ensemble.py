"""Several networks asked together are one network: its scores, its maps and what a bundle holds of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_bundle import write_toy_bundle

from cxr_pacs.errors import BundleError
from cxr_pacs.inference import load_bundle
from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from cxr_pacs.inference.ensemble import Ensemble
from cxr_pacs.inference.network import FEATURES, build_network, read_weights, write_weights
from cxr_pacs.inference.saliency import activation_maps
from training.ensemble import joined

HEADS = (("binary", 2), ("multiclass", 3))
SCALE = ((0.5,) * 3, (0.25,) * 3)
SMALL = Architecture(stages=(1, 1), width=4, heads=HEADS)
LITE0 = EfficientNetLite0(heads=HEADS)


def at_random(architecture, rng):
    """Weights of an untrained network with heads and statistics that are not what they begin with."""
    weights = read_weights(build_network(architecture, *SCALE))
    for name, array in weights.items():
        if not name.endswith("moving_variance"):
            array[...] += rng.normal(0, 0.05, array.shape)
    return weights


def asked(architecture, weights, films):
    network = build_network(architecture, *SCALE)
    write_weights(network, weights)
    return {name: np.asarray(tensor) for name, tensor in network(films, training=False).items()}


@pytest.mark.parametrize(
    ("each", "members", "side"), [(SMALL, 3, 40), (LITE0, 2, 96)], ids=["resnet", "lite0"]
)
def test_it_says_the_mean_of_what_its_members_say_of_film_and_mirror_image(each, members, side):
    rng = np.random.default_rng(3)
    weights = [at_random(each, rng) for _ in range(members)]
    films = rng.random((2, side, side), np.float32)
    alone = [asked(each, one, shown) for one in weights for shown in (films, films[:, :, ::-1])]
    whole = Ensemble(members=members, of=each)
    together = asked(whole, joined(weights, dict(HEADS)), films)
    for head, _ in HEADS:
        spread = np.ptp([said[head] for said in alone], axis=0)
        assert (spread > 1e-3).all(), "they do not say the same"
        expected = np.mean([said[head] for said in alone], axis=0)
        np.testing.assert_allclose(together[head], expected, atol=1e-5)
    assert together[FEATURES].shape[-1] == whole.channels == members * each.channels


def test_its_weights_are_those_that_a_bundle_must_hold():
    whole = Ensemble(members=2, of=LITE0)
    laid_out = {name: array.shape for name, array in read_weights(build_network(whole, *SCALE)).items()}
    assert laid_out == whole.weight_shapes()
    rng = np.random.default_rng(1)
    given = joined([at_random(LITE0, rng), at_random(LITE0, rng)], dict(HEADS))
    assert {name: array.shape for name, array in given.items()} == laid_out


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cells=st.integers(2, 6))
def test_the_mirror_image_has_the_same_scores_and_the_mirrored_map(seed, cells):
    rng = np.random.default_rng(seed)
    whole = Ensemble(members=2, of=SMALL)
    weights = joined([at_random(SMALL, rng), at_random(SMALL, rng)], dict(HEADS))
    side = cells * SMALL.stride
    films = rng.random((1, side, side), np.float32)
    said, of_mirrored = (asked(whole, weights, shown) for shown in (films, films[:, :, ::-1]))
    for head, _ in HEADS:
        np.testing.assert_allclose(said[head], of_mirrored[head], atol=1e-5)
        kernel = weights[f"{head}/kernel"].astype(np.float32)
        maps, mirrored = (activation_maps(one[FEATURES][0], kernel) for one in (said, of_mirrored))
        np.testing.assert_allclose(maps, mirrored[:, :, ::-1], atol=1e-4)


def test_the_side_of_its_input_is_whole_cells(tmp_path):
    path = write_toy_bundle(tmp_path) / "bundle.toml"
    text = path.read_text()
    assert "squash-area-64" in text
    path.write_text(text.replace("width = 2", "width = 2\nmembers = 2").replace("area-64", "area-80"))
    with pytest.raises(BundleError, match=r"preprocessing.identifier: 32 must divide the side"):
        load_bundle(tmp_path)
    path.write_text(text.replace("width = 2", "width = 2\nmembers = 2"))
    with pytest.raises(BundleError, match=r"weight m1_conv1_conv/kernel is missing"):
        load_bundle(tmp_path)
