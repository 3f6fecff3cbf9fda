"""The picture itself: where the map lies, what is untouched, how large it is, and its caption."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import HeatmapPicture
from cxr_pacs.evidence.picture import Caption, _layout, overlay, render
from cxr_pacs.inference.findings import ClassScore

SHOWN = ClassScore(head="multiclass", label="covid19", score=0.8, threshold=0.5)
CAPTION = Caption(
    title="COVID-19: certainty 80.0 %",
    warning="AI-derived, not a diagnosis",
    lines=("Head multiclass: COVID-19, bacterial pneumonia or normal", "Example 1.0. Research use only"),
    colours="Colour: contribution to the logit of this class, relative to the strongest here",
    dark="No region of this image argues for this class: nothing is coloured",
)


def picture(pixels, saliency=None, aspect=1.0):
    if saliency is None:
        saliency = np.zeros_like(pixels)
    return HeatmapPicture(pixels=pixels, saliency=saliency, shown=SHOWN, aspect=aspect)


def grey(rows, columns):
    return np.full((rows, columns), 0.5, np.float32)


def colourful(drawn):
    """Where a picture is not grey."""
    return np.ptp(drawn.astype(int), axis=2) > 12


def radiograph_box(rows, columns, aspect=1.0):
    """Where the radiograph lies in the result: a white one, between black margins and the caption."""
    drawn = render(picture(np.ones((rows, columns), np.float32), aspect=aspect), CAPTION)
    white = (drawn == 255).all(axis=2)
    ys, xs = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert white[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].all()
    return drawn, ys[-1] + 1 - ys[0], xs[0], xs[-1] + 1 - xs[0]


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 5), (6, 0), (3, 3), (6, 6)])
@pytest.mark.parametrize("shape", [(350, 280), (1400, 2100)])
def test_one_hot_cell_lights_its_place_and_no_other(row, column, shape):
    rows, columns = shape
    cells = np.zeros((7, 7), np.float32)
    cells[row, column] = 1
    saliency = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_NEAREST)
    lit = picture(grey(rows, columns), saliency)
    width, height, _ = _layout(lit, CAPTION)
    drawn = render(lit, CAPTION)
    left = (drawn.shape[1] - width) // 2
    ys, xs = np.nonzero(colourful(drawn[:height]))
    assert abs(ys.mean() - (row + 0.5) / 7 * height) < 0.5 * height / 7
    assert abs(xs.mean() - left - (column + 0.5) / 7 * width) < 0.5 * width / 7
    assert np.ptp(ys) <= 1.2 * height / 7
    assert np.ptp(xs) <= 1.2 * width / 7


def test_nothing_is_painted_where_the_map_is_next_to_nothing():
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (4, 1))
    share = np.full_like(ramp, 0.04)
    drawn = overlay(ramp, share)
    np.testing.assert_array_equal(
        drawn, np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 4, 0).repeat(3, 2)
    )


@given(st.floats(0.06, 1))
def test_the_radiograph_shows_through_the_strongest_colour(share):
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    drawn = overlay(ramp, np.full_like(ramp, share)).astype(int)
    lightness = drawn.sum(axis=2)[0]
    assert (np.diff(lightness) >= 0).all()
    assert lightness[-1] - lightness[0] > 3 * 255 * 0.4


def test_the_scale_grows_lighter_evenly():
    shares = np.linspace(0.1, 1, 10, dtype=np.float32)[None]
    lightness = cv2.cvtColor(overlay(np.zeros_like(shares), shares), cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    steps = np.diff(lightness)
    assert (steps > 0).all()
    assert steps.max() < 3 * steps.mean()


@settings(deadline=None, max_examples=25)
@given(st.integers(16, 2600), st.integers(16, 2600), st.floats(0.4, 2.5))
def test_no_side_is_longer_than_1024_and_pixels_become_square(rows, columns, aspect):
    drawn, height, _, width = radiograph_box(rows, columns, aspect)
    assert max(drawn.shape[:2]) <= 1024
    assert drawn.shape[1] >= 512
    # half a pixel of rounding on each side
    assert abs(height - width * rows * aspect / columns) <= 0.5 + 0.5 * max(1, rows * aspect / columns)


def test_a_radiograph_of_middling_size_keeps_its_pixels():
    levels = np.random.default_rng(0).integers(0, 256, (700, 680))
    drawn = render(picture((levels / 255).astype(np.float32)), CAPTION)
    np.testing.assert_array_equal(drawn[:700, :680, 0], levels)


def test_shrinking_averages_areas():
    checkers = (np.indices((2000, 2000)).sum(axis=0) % 2).astype(np.float32)
    drawn = render(picture(checkers), CAPTION)
    _, height, left, width = radiograph_box(2000, 2000)
    inside = drawn[5 : height - 5, left + 5 : left + width - 5, 0].astype(int)
    assert abs(inside.mean() - 127.5) < 1
    assert inside.std() < 25


def test_the_caption_has_words_a_scale_and_an_amber_warning():
    saliency = np.zeros((800, 700), np.float32)
    saliency[100:200, 100:200] = 1
    drawn = render(picture(np.zeros((800, 700), np.float32), saliency), CAPTION)
    strip = drawn[800:]
    assert 100 < strip.shape[0] <= 224
    amber = (np.abs(strip.astype(int) - (255, 190, 60)).max(axis=2) < 8).sum()
    assert amber > 100
    assert (strip.min(axis=2) > 200).sum() > 100
    scale = colourful(strip) & ~(strip[..., 0] > 200)
    assert np.ptp(np.nonzero(scale)[1]) > 250


def test_a_dark_map_says_so_and_has_no_scale():
    lit = np.full((800, 700), 1, np.float32)
    with_scale = render(picture(grey(800, 700), lit), CAPTION)
    without = render(picture(grey(800, 700)), CAPTION)
    assert without.shape[0] < with_scale.shape[0]
    assert not colourful(without[:800]).any()


def test_words_wrap_in_a_narrow_caption():
    short = render(picture(grey(600, 100)), CAPTION)
    longer = dataclasses.replace(CAPTION, lines=(*CAPTION.lines, "word " * 60))
    long = render(picture(grey(600, 100)), longer)
    assert short.shape[1] == long.shape[1] == 512
    assert max(long.shape[:2]) <= 1024
    assert (long[:, -6:] == 0).all()


@pytest.mark.parametrize(
    ("pixels", "saliency", "aspect", "reason"),
    [
        (grey(4, 5), grey(5, 4), 1.0, "one shape"),
        (grey(0, 5), grey(0, 5), 1.0, "one shape"),
        (grey(4, 5)[0], grey(4, 5)[0], 1.0, "one shape"),
        (grey(4, 5), grey(4, 5), 0.0, "aspect"),
        (grey(4, 5), grey(4, 5), float("nan"), "aspect"),
        (np.full((900, 900), np.nan, np.float32), grey(900, 900), 1.0, "finite"),
        (grey(2000, 900), np.where(np.indices((2000, 900))[0] == 7, np.inf, 0).astype("f4"), 1.0, "finite"),
    ],
)
def test_unsound_pictures_are_refused(pixels, saliency, aspect, reason):
    with pytest.raises(EvidenceError, match=reason):
        render(picture(pixels, saliency, aspect), CAPTION)


def test_a_caption_without_end_is_refused():
    endless = dataclasses.replace(CAPTION, lines=("word " * 2000,))
    with pytest.raises(EvidenceError, match="intended_use"):
        render(picture(grey(900, 900)), endless)
