"""Area averaging against an exact formula; what the network sees of a picture with lungs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxr_pacs.inference.lung_fields import lung_fields
from cxr_pacs.inference.preprocessing import BLANK, area_average, crop_to_lung_fields, mask_over


def averaged(picture, target):
    """The mean over area along the first axis: cut each pixel into `target` parts, join `source` of them."""
    source = len(picture)
    parts = np.repeat(picture.astype(np.float64), target, axis=0)
    return parts.reshape(target, source, *picture.shape[1:]).mean(axis=1)


def averaged_on_both_axes(picture, target):
    return averaged(averaged(picture, target[0]).T, target[1]).T


sides = st.integers(1, 97)


@given(
    rows=sides,
    columns=sides,
    target=st.tuples(sides, sides),
    seed=st.integers(0, 2**32 - 1),
)
def test_area_average_is_exact_shrinking_enlarging_and_mixed(rows, columns, target, seed):
    picture = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    expected = averaged_on_both_axes(picture, target)
    found = area_average(picture, target)
    assert found.shape == target
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(2500, 2048), (1955, 1841), (512, 625), (440, 440), (169, 211)])
def test_area_average_of_real_sizes(shape):
    # A sum of separable pictures, so that each axis can be averaged alone.
    random = np.random.default_rng(1)
    down, across = random.random((shape[0], 2)), random.random((shape[1], 2))
    picture = (down @ across.T / 2).astype(np.float32)
    expected = averaged(down, 224) @ averaged(across, 224).T / 2
    np.testing.assert_allclose(area_average(picture, (224, 224)), expected, atol=2e-5)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.floats(0, 1, width=32),
    )
)
def test_area_average_stays_within_the_range_and_keeps_the_mean(pixels):
    square = area_average(pixels, (16, 16))
    assert square.min() >= pixels.min() - 1e-6
    assert square.max() <= pixels.max() + 1e-6
    assert square.mean(dtype=np.float64) == pytest.approx(pixels.mean(dtype=np.float64), abs=1e-5)


def two_lungs(rows=128, columns=128):
    mask = np.zeros((rows, columns), np.bool_)
    mask[rows // 4 : 3 * rows // 4, columns // 5 : 2 * columns // 5] = True
    mask[rows // 4 : 3 * rows // 4, 3 * columns // 5 : 4 * columns // 5] = True
    return mask


def test_only_the_lung_fields_are_seen_and_the_rest_is_mid_scale():
    mask = two_lungs()
    fields = lung_fields(mask)
    picture = np.where(mask_over(mask, (600, 500)), np.float32(0.2), np.float32(0.9))
    square, box = crop_to_lung_fields(picture, fields, 160)
    seen = fields.over(160)
    assert (square[~seen] == BLANK).all()
    assert square[80, 40] == pytest.approx(0.2)  # in the lung
    assert square[80, 80] == BLANK  # between the lungs
    assert box.top == pytest.approx(fields.box.top, abs=0.5 / 600)
    assert box.left + box.width == pytest.approx(fields.box.left + fields.box.width, abs=0.5 / 500)


@given(st.integers(20, 400), st.integers(20, 400), st.integers(32, 256))
def test_what_lies_outside_the_fields_changes_nothing(rows, columns, size):
    """Whatever stands in the corners and beyond the box: the network sees the same."""
    fields = lung_fields(two_lungs())
    picture = np.full((rows, columns), 0.3, np.float32)
    other = picture.copy()
    other[: rows // 8] = other[-(rows // 8) :] = 0.95
    other[:, : columns // 8] = other[:, -(columns // 8) :] = 0.0
    np.testing.assert_array_equal(
        crop_to_lung_fields(picture, fields, size)[0], crop_to_lung_fields(other, fields, size)[0]
    )


@given(hnp.arrays(np.bool_, (8, 6)), st.integers(1, 5))
def test_a_mask_laid_over_a_finer_grid_keeps_its_cells_centres(mask, scale):
    laid = mask_over(mask, (8 * (2 * scale + 1), 6 * (2 * scale + 1)))
    np.testing.assert_array_equal(laid[scale :: 2 * scale + 1, scale :: 2 * scale + 1], mask)
