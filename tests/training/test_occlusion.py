from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_engines import ReadingEngine, lung_mask, lungs_part

from cxr_pacs.inference.lung_fields import lung_fields
from cxr_pacs.inference.preprocessing import BLANK, crop_to_lung_fields
from training.occlusion import FILLS, View, blank, fields_over, lungs_blanked, lungs_only, smooth

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def drawn(shape, seed):
    rng = np.random.default_rng(seed)
    hidden = rng.random(shape) < rng.random()
    return rng.random(shape, np.float32), hidden


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6), st.sampled_from(sorted(FILLS)))
def test_hiding_twice_hides_no_more(shape, seed, fill):
    picture, hidden = drawn(shape, seed)
    once = FILLS[fill](picture, hidden)
    assert once.dtype == np.float32
    assert (FILLS[fill](once, hidden) == once).all()


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6), st.sampled_from(sorted(FILLS)))
def test_each_pixel_is_shown_once(shape, seed, fill):
    """What one view shows the other hides: together they are the picture."""
    picture, inside = drawn(shape, seed)
    without, alone = (hide(picture, inside, FILLS[fill]) for hide in (lungs_blanked, lungs_only))
    assert (np.where(inside, alone, without) == picture).all()
    # What is hidden tells nothing: another picture that differs only there gives the same.
    other = np.random.default_rng(seed + 1).random(shape, np.float32)
    assert (lungs_blanked(np.where(inside, other, picture), inside, FILLS[fill]) == without).all()
    assert (lungs_only(np.where(inside, picture, other), inside, FILLS[fill]) == alone).all()


def test_blank_is_mid_grey():
    picture, hidden = drawn((20, 30), 1)
    assert (blank(picture, hidden)[hidden] == BLANK).all()


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_a_smooth_fill_stays_within_what_is_shown(shape, seed):
    picture, hidden = drawn(shape, seed)
    filled = smooth(picture, hidden)
    if hidden.all():
        assert (filled == BLANK).all()
    else:
        assert filled.min() >= picture[~hidden].min() - 1e-5
        assert filled.max() <= picture[~hidden].max() + 1e-5


def test_a_smooth_fill_has_no_edge():
    """Over a slope the blank fill leaves steps at the border of the hole, the smooth one next to none."""
    picture = np.tile(np.linspace(0.6, 0.9, 96, dtype=np.float32), (96, 1))
    hidden = np.zeros((96, 96), np.bool_)
    hidden[30:60, 30:60] = True

    def steepest(filled):
        return max(np.abs(np.diff(filled, axis=axis)).max() for axis in (0, 1))

    assert steepest(blank(picture, hidden)) > 0.15
    assert steepest(smooth(picture, hidden)) < 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 160), st.integers(40, 160))
def test_fields_lie_over_the_lungs(rows, columns):
    mask = lung_mask((rows, columns))
    fields = lung_fields(mask)
    inside = fields_over(fields, (rows, columns))
    assert inside.shape == mask.shape
    assert (mask & ~inside).sum() <= 0.01 * mask.sum()
    assert inside.sum() < 2 * mask.sum()


@pytest.mark.parametrize("fill", ["blank"])
def test_with_lungs_only_a_bundle_that_reads_the_fields_sees_what_it_saw(fill):
    picture = np.random.default_rng(3).random((300, 260), np.float32)
    fields = lung_fields(lung_mask(picture.shape))
    inside = fields_over(fields, picture.shape)
    seen, box = crop_to_lung_fields(picture, fields, 64)
    again, same = crop_to_lung_fields(lungs_only(picture, inside, FILLS[fill]), fields, 64)
    assert box == same
    cells = fields.over(64)
    core = cells & np.roll(cells, 2, 0) & np.roll(cells, -2, 0) & np.roll(cells, 2, 1) & np.roll(cells, -2, 1)
    assert core.mean() > 0.3
    assert np.allclose(again[core], seen[core], atol=1e-6)
    assert np.allclose(again, seen, atol=0.5)
    nothing, _ = crop_to_lung_fields(lungs_blanked(picture, inside), fields, 64)
    assert np.allclose(nothing[core], BLANK)


def test_only_held_views_tell_the_engine_its_fields():
    engine = ReadingEngine(lungs_part)
    picture = np.full((60, 80), 0.25, np.float32)
    fields = lung_fields(lung_mask(picture.shape))
    for view in View:
        before = engine.told
        view.analyse(engine, picture, fields, blank)
        assert engine.told - before == view.held, view
    assert View.ONLY_HELD.words == "lungs only, fields held"
