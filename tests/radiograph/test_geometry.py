"""The valid part of a radiograph and the way back to its place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.radiograph import Radiograph, valid_part


@given(
    shape=st.tuples(st.integers(30, 80), st.integers(30, 80)),
    margins=st.tuples(*[st.integers(0, 12)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_part_goes_back_to_its_place(shape, margins, seed):
    pixels = np.random.default_rng(seed).random(shape).astype(np.float32)
    valid = np.zeros(shape, np.bool_)
    top, bottom, left, right = margins
    valid[top : shape[0] - bottom, left : shape[1] - right] = True
    part, geometry = valid_part(Radiograph(pixels=pixels, valid=valid, aspect=1.0, quality=()))
    assert part.shape == (geometry.height, geometry.width)
    assert (geometry.top, geometry.left) == (top, left)
    np.testing.assert_array_equal(geometry.place(part), np.where(valid, pixels, 0))


def test_holes_and_corners_that_are_not_valid_stay_in_the_box():
    valid = np.zeros((60, 50), np.bool_)
    valid[10, 20] = valid[39, 5] = valid[25, 44] = True
    pixels = np.where(valid, np.float32(0.5), np.float32(0))
    part, geometry = valid_part(Radiograph(pixels=pixels, valid=valid, aspect=1.0, quality=()))
    assert (geometry.top, geometry.left, geometry.height, geometry.width) == (10, 5, 30, 40)
    assert part.sum() == 1.5
