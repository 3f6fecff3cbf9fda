"""What of a mask is lung, and where the fields around it lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.inference.lung_fields import clean_mask, lung_fields


def lungs(shape=(128, 128), *, left_top=30):
    """Two ellipses; the one on the picture's right is cut above `left_top` as where lung is opaque."""
    y, x = np.indices(shape) / np.array(shape).reshape(2, 1, 1) * 128
    first = ((x - 40) / 18) ** 2 + ((y - 64) / 36) ** 2 <= 1
    second = (((x - 90) / 18) ** 2 + ((y - 64) / 36) ** 2 <= 1) & (y >= left_top)
    return first | second


def in_picture(fields, row, column):
    """Whether the fields hold the point, in shares of the picture."""
    y = (row - fields.box.top) / fields.box.height
    x = (column - fields.box.left) / fields.box.width
    if not (0 <= y < 1 and 0 <= x < 1):
        return False
    return bool(fields.cells[int(y * fields.cells.shape[0]), int(x * fields.cells.shape[1])])


def test_two_largest_parts_are_kept_and_their_holes_filled():
    mask = lungs()
    mask[60:64, 38:42] = False
    speck = mask.copy()
    speck[2:6, 2:6] = True
    speck[100:126, 100:126] = True  # large, but smaller than both lungs
    np.testing.assert_array_equal(clean_mask(speck), lungs())


def test_specks_are_no_lungs():
    mask = np.zeros((128, 128), np.bool_)
    mask[10:20, 10:20] = mask[50:60, 50:60] = True
    assert not clean_mask(mask).any()
    assert lung_fields(mask) is None
    assert lung_fields(np.zeros((128, 128), np.bool_)) is None


@given(st.integers(64, 200), st.integers(64, 200))
def test_the_box_is_the_lungs_with_their_margin(rows, columns):
    mask = lungs((rows, columns))
    box = lung_fields(mask).box
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = (down[-1] + 1 - down[0]) / rows, (across[-1] + 1 - across[0]) / columns
    assert (box.height, box.width) == pytest.approx((1.08 * height, 1.08 * width))
    assert box.top == pytest.approx(down[0] / rows - 0.04 * height)
    assert box.left == pytest.approx(across[0] / columns - 0.04 * width)


def test_a_box_ends_at_the_picture():
    mask = np.zeros((100, 100), np.bool_)
    mask[:, :40] = mask[:, 60:] = True
    box = lung_fields(mask).box
    assert (box.top, box.left, box.height, box.width) == pytest.approx((0, 0, 1, 1))


@given(st.integers(0, 2**32 - 1))
def test_every_pixel_of_the_lungs_is_in_the_fields(seed):
    random = np.random.default_rng(seed)
    mask = lungs(left_top=int(random.integers(30, 80)))
    mask[:, : int(random.integers(0, 40))] = False
    fields = lung_fields(mask)
    assert all(
        in_picture(fields, (row + 0.5) / 128, (column + 0.5) / 128) for row, column in np.argwhere(mask)
    )


def test_what_is_missing_of_one_lung_is_covered_by_the_other():
    fields = lung_fields(lungs(left_top=85))
    assert in_picture(fields, 0.3, 90 / 128)
    assert not in_picture(fields, 0.5, 65 / 128), "the mediastinum is no lung field"


@pytest.mark.parametrize("size", [32, 128, 160, 224])
def test_fields_that_are_even_stay_so_at_every_size(size):
    fields = lung_fields(lungs())
    over = fields.over(size)
    assert over.shape == (size, size)
    assert over.mean() == pytest.approx(fields.cells.mean(), abs=0.02)
    np.testing.assert_array_equal(over, over[:, ::-1])
