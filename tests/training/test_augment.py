from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.augment import Augmentation, augment

NONE = Augmentation(stretch=0, turn=0, shift=0, gamma=0, contrast=0, degrade=0, edge=0)
MUCH = Augmentation(stretch=0.3, turn=20, shift=0.1, gamma=0.5, contrast=0.3, degrade=0.7, edge=0.7)
SIDE = 32
LIMITS = st.builds(
    Augmentation,
    stretch=st.floats(0, 0.4),
    turn=st.floats(0, 45),
    shift=st.floats(0, 0.2),
    gamma=st.floats(0, 1),
    contrast=st.floats(0, 0.5),
    degrade=st.floats(0, 1),
    edge=st.floats(0, 1),
)


def view():
    """Noise, all of it visible, over lungs in the left half."""
    made = np.zeros((SIDE, SIDE, 3), np.uint8)
    made[..., 0] = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE))
    made[..., 1] = 255
    made[:, : SIDE // 2, 2] = 255
    return made


@given(st.integers(0, 1000))
def test_no_augmentation_leaves_the_film_or_its_mirror(seed):
    image, lungs = augment(view(), SIDE, NONE, np.random.default_rng(seed))
    plain = view().astype(np.float32) / 255
    mirrored = plain[:, ::-1]
    expected = plain if lungs[:, 0].mean() > 0.5 else mirrored
    np.testing.assert_allclose(image, expected[..., 0], atol=1e-5)
    np.testing.assert_allclose(lungs, expected[..., 2], atol=1e-5)


@given(LIMITS, st.sampled_from((12, SIDE, 48)), st.integers(0, 1000))
def test_augmented_films_stay_in_range_and_follow_the_seed(limits, size, seed):
    (image, lungs), again = (augment(view(), size, limits, np.random.default_rng(seed)) for _ in range(2))
    for array in (image, lungs):
        assert (array.dtype, array.shape) == (np.float32, (size, size))
        assert 0 <= array.min() <= array.max() <= 1
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(lungs, again[1])


def test_seeds_and_draws_differ():
    rng = np.random.default_rng(1)
    images = [augment(view(), SIDE, MUCH, rng)[0] for _ in range(8)]
    assert any((image != images[0]).any() for image in images[1:])


@given(st.integers(0, 1000))
def test_what_is_not_visible_is_mid_grey_whatever_else_happens(seed):
    blind = view()
    blind[..., 1] = 0
    image, _ = augment(blind, SIDE, replace(MUCH, edge=0), np.random.default_rng(seed))
    np.testing.assert_array_equal(image, 0.5)


def test_the_lungs_move_with_the_image():
    marked = np.zeros((SIDE, SIDE, 3), np.uint8)
    marked[8:20, 4:14] = 255
    marked[..., 1] = 255
    geometry = replace(NONE, stretch=0.2, turn=15, shift=0.1)
    rng = np.random.default_rng(2)
    moved = [augment(marked, SIDE, geometry, rng) for _ in range(10)]
    for image, lungs in moved:
        np.testing.assert_allclose(image, lungs, atol=1e-5)
    assert np.ptp([lungs.mean() for _, lungs in moved]) > 0.01


def test_rows_and_columns_are_stretched_apart():
    marked = np.zeros((SIDE, SIDE, 3), np.uint8)
    marked[10:22, 10:22, 2] = 255
    rng = np.random.default_rng(3)
    lungs = [augment(marked, SIDE, replace(NONE, stretch=0.3), rng)[1] >= 0.5 for _ in range(40)]
    aspects = [mask.any(axis=0).sum() / mask.any(axis=1).sum() for mask in lungs]
    assert min(aspects) < 0.8
    assert max(aspects) > 1.25


def test_the_outline_of_the_visible_field_is_moved_both_ways():
    field = view()
    field[..., 0] = 255
    field[:, :8, 1] = 0
    rng = np.random.default_rng(4)
    seen = [int((augment(field, SIDE, replace(NONE, edge=1.0), rng)[0] == 1).sum()) for _ in range(20)]
    before = SIDE * (SIDE - 8)
    assert min(seen) < before < max(seen)


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_limits_are_scaled_and_chances_stay_chances(strength):
    scaled = MUCH.scaled(strength)
    for field in fields(Augmentation):
        wanted = getattr(MUCH, field.name) * strength
        chance = field.name in {"degrade", "edge"}
        assert getattr(scaled, field.name) == pytest.approx(min(1.0, wanted) if chance else wanted)
