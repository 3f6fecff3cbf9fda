"""Area averaging against an exact formula, and the way from the network's square back to the source."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxr_pacs.radiograph import Radiograph, squash
from cxr_pacs.radiograph.geometry import area_average


def averaged(picture, target):
    """The mean over area along the first axis: cut each pixel into `target` parts, join `source` of them."""
    source = len(picture)
    parts = np.repeat(picture.astype(np.float64), target, axis=0)
    return parts.reshape(target, source, *picture.shape[1:]).mean(axis=1)


def averaged_on_both_axes(picture, target):
    return averaged(averaged(picture, target[0]).T, target[1]).T


def radiograph(pixels, valid=None):
    valid = np.ones(pixels.shape, np.bool_) if valid is None else valid
    return Radiograph(pixels=pixels, valid=valid, aspect=1.0, quality=())


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
def test_squash_stays_within_the_range_and_keeps_the_mean(pixels):
    square, _ = squash(radiograph(pixels), 16)
    assert square.shape == (16, 16)
    assert square.min() >= pixels.min() - 1e-6
    assert square.max() <= pixels.max() + 1e-6
    assert square.mean(dtype=np.float64) == pytest.approx(pixels.mean(dtype=np.float64), abs=1e-5)


@given(
    rows=st.integers(40, 300),
    columns=st.integers(40, 300),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.sampled_from([64, 224, 331]),
    grid=st.integers(3, 14),
    margin=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_a_bright_point_comes_back_within_one_cell(rows, columns, place, size, grid, margin):
    pixels = np.zeros((rows, columns), np.float32)
    valid = np.zeros((rows, columns), np.bool_)
    valid[margin[0] : rows - margin[0], margin[1] : columns - margin[1]] = True
    height, width = rows - 2 * margin[0], columns - 2 * margin[1]
    row = margin[0] + min(int(place[0] * height), height - 1)
    column = margin[1] + min(int(place[1] * width), width - 1)
    pixels[row, column] = 1
    square, geometry = squash(radiograph(pixels, valid), size)
    cells = area_average(square, (grid, grid))  # what a network that looks for brightness would answer
    peak = np.unravel_index(cells.argmax(), cells.shape)
    lit = np.zeros_like(cells)
    lit[peak] = 1
    laid = geometry.to_source(lit, 0.5, 1 / grid)
    assert laid.shape == pixels.shape
    found = np.argwhere(laid > laid.max() - 1e-6).mean(axis=0)
    # One cell, and one pixel where the grid is so fine that a point touches two cells.
    assert abs(found[0] - row) <= height / grid + 1
    assert abs(found[1] - column) <= width / grid + 1


@given(
    rows=st.integers(20, 200),
    columns=st.integers(20, 200),
    grid=st.integers(2, 14),
    seed=st.integers(0, 2**32 - 1),
)
def test_cells_that_divide_the_square_are_resized_bilinearly(rows, columns, grid, seed):
    cells = np.random.default_rng(seed).random((grid, grid)).astype(np.float32)
    _, geometry = squash(radiograph(np.zeros((rows, columns), np.float32)), 64)
    expected = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_LINEAR)
    laid = geometry.to_source(cells, 0.5, 1 / grid)
    assert laid.dtype == np.float32
    np.testing.assert_allclose(laid, expected, atol=1e-5)


@given(
    size=st.integers(64, 300),
    scale=st.integers(1, 5),
    cell=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    first=st.sampled_from([0.5 / 32, 0.25, 0.5]),
)
def test_a_cell_is_laid_about_its_centre_whatever_the_size(size, scale, cell, first):
    count = -(-size // 32)
    cell = tuple(min(at, count - 1) for at in cell)
    lit = np.zeros((count, count), np.float32)
    lit[cell] = 1
    _, geometry = squash(radiograph(np.zeros((size * scale, size * scale), np.float32)), size)
    laid = geometry.to_source(lit, first, 32 / size)
    for axis, at in enumerate(cell):
        seen = laid.max(axis=1 - axis) / laid.max()
        places = (np.arange(size * scale) + 0.5) / scale  # pixels of the square
        away = places / 32 - first - at
        if at == count - 1:
            away = np.minimum(away, 0)
        np.testing.assert_allclose(seen, np.clip(1 - abs(away), 0, None) / (1 - abs(away).min()), atol=1e-4)


def test_what_is_not_valid_is_cropped_and_gets_no_heat():
    pixels = np.zeros((60, 50), np.float32)
    valid = np.zeros((60, 50), np.bool_)
    valid[10:40, 5:45] = True
    pixels[valid] = 0.5
    square, geometry = squash(radiograph(pixels, valid), 8)
    np.testing.assert_allclose(square, 0.5, atol=1e-6)
    assert (geometry.top, geometry.left, geometry.height, geometry.width) == (10, 5, 30, 40)
    np.testing.assert_array_equal(geometry.to_source(np.ones((7, 7), np.float32), 0.5, 1 / 7), valid)
