from __future__ import annotations

import numpy as np
import pytest

from cxr_pacs.inference.preprocessing import area_average
from training.loop import served
from training.views import lung_view, lungs_of, whole_view

SIDE = 64


def picture(rows=120, columns=100):
    """Smooth, so that averaging over small areas changes little."""
    down, across = np.mgrid[0:rows, 0:columns]
    return ((np.sin(down / 20) + np.cos(across / 15)) / 4 + 0.5).astype(np.float32)


def lungs(rows=120, columns=100):
    mask = np.zeros((rows, columns), np.bool_)
    mask[20:90, 15:45] = True
    mask[20:90, 55:85] = True
    return mask


def test_a_whole_view_shows_everything():
    view = whole_view(picture(), lungs(), SIDE)
    assert (view.dtype, view.shape) == (np.uint8, (SIDE, SIDE, 3))
    expected = area_average(picture(), (SIDE, SIDE))
    np.testing.assert_allclose(view[..., 0] / 255, expected, atol=0.01)
    assert (view[..., 1] == 255).all()
    assert set(np.unique(view[..., 2])) == {0, 255}
    assert (view[..., 2] == 255).mean() == pytest.approx(lungs().mean(), abs=0.03)


def test_a_lung_view_is_cropped_to_the_lungs_and_shows_little_else():
    view = lung_view(picture(), lungs(), SIDE)
    mask, visible = view[..., 2] == 255, view[..., 1] >= 128
    # The lungs fill more of the view than of the picture, and all of them can be seen.
    assert mask.mean() > lungs().mean() * 1.3
    assert (visible | ~mask).mean() > 0.99
    assert mask.any(axis=0)[[SIDE // 4, -SIDE // 4]].all()


def test_without_lungs_the_whole_picture_is_seen():
    view = lung_view(picture(), np.zeros((50, 50), np.bool_), SIDE)
    np.testing.assert_array_equal(view[..., :2], whole_view(picture(), lungs(), SIDE)[..., :2])
    assert (view[..., 2] == 0).all()


def test_the_mask_may_be_of_another_size_than_the_picture():
    small = lungs()[::2, ::2]
    one, other = lung_view(picture(), small, SIDE), lung_view(picture(), lungs(), SIDE)
    assert np.abs(one[..., 0].astype(int) - other[..., 0]).mean() < 8


def test_a_served_lung_view_is_blank_outside_the_fields():
    view = lung_view(picture(), lungs(), SIDE)
    shown = served(view[np.newaxis], SIDE)[0]
    hidden = view[..., 1] < 128
    assert hidden.any()
    np.testing.assert_array_equal(shown[hidden], 0.5)
    np.testing.assert_allclose(shown[~hidden], view[..., 0][~hidden] / 255, atol=1e-6)


def test_lungs_are_segmented_from_a_square_and_cleaned():
    asked = []

    def segment(square):
        asked.append(square.shape)
        mask = np.zeros(square.shape, np.bool_)
        mask[12:48, 8:28] = True
        mask[12:48, 36:56] = True
        mask[20:24, 12:16] = False  # a hole
        mask[62, 62] = True  # a speck
        return mask

    found = lungs_of(picture(), segment, SIDE)
    assert asked == [(SIDE, SIDE)]
    assert found.shape == (SIDE, SIDE)
    assert found[22, 14]
    assert not found[62, 62]
