"""Where a map over the network's square lies in the picture, and how much of it in the lungs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.inference.findings import WHOLE, Box, Saliency
from cxr_pacs.inference.preprocessing import area_average
from cxr_pacs.inference.saliency import share_inside

MIDDLE = (0.5, 0.5)


def laid_over(cells, first_centre, pitch, shape, box=WHOLE):
    saliency = Saliency(head="h", label="l", cells=cells, first_centre=first_centre, pitch=pitch, box=box)
    return saliency.over(shape)


@given(
    rows=st.integers(20, 200),
    columns=st.integers(20, 200),
    grid=st.integers(2, 14),
    seed=st.integers(0, 2**32 - 1),
)
def test_cells_that_divide_the_square_are_resized_bilinearly(rows, columns, grid, seed):
    cells = np.random.default_rng(seed).random((grid, grid)).astype(np.float32)
    expected = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_LINEAR)
    laid = laid_over(cells, MIDDLE, 1 / grid, (rows, columns))
    assert laid.dtype == np.float32
    np.testing.assert_allclose(laid, expected, atol=1e-5)


@given(
    size=st.integers(64, 300),
    scale=st.integers(1, 5),
    cell=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    first=st.tuples(*[st.sampled_from([0.5 / 32, 0.25, 0.5])] * 2),
)
def test_a_cell_is_laid_about_its_centre_whatever_the_size(size, scale, cell, first):
    count = -(-size // 32)
    cell = tuple(min(at, count - 1) for at in cell)
    lit = np.zeros((count, count), np.float32)
    lit[cell] = 1
    laid = laid_over(lit, first, 32 / size, (size * scale, size * scale))
    for axis, at in enumerate(cell):
        seen = laid.max(axis=1 - axis) / laid.max()
        places = (np.arange(size * scale) + 0.5) / scale  # pixels of the square
        away = places / 32 - first[axis] - at
        if at == count - 1:
            away = np.minimum(away, 0)
        np.testing.assert_allclose(seen, np.clip(1 - abs(away), 0, None) / (1 - abs(away).min()), atol=1e-4)


@given(
    shape=st.tuples(st.integers(60, 300), st.integers(60, 300)),
    edges=st.tuples(*[st.integers(0, 15)] * 4),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    grid=st.integers(3, 14),
)
def test_a_bright_point_of_a_cropped_region_comes_back_to_its_place(shape, edges, at, grid):
    top, bottom, left, right = edges
    height, width = shape[0] - top - bottom, shape[1] - left - right
    row, column = top + min(int(at[0] * height), height - 1), left + min(int(at[1] * width), width - 1)
    picture = np.zeros(shape, np.float32)
    picture[row, column] = 1
    region = picture[top : top + height, left : left + width]
    cells = area_average(region, (grid, grid))  # what a network that looks for brightness would answer
    lit = (cells == cells.max()).astype(np.float32)
    box = Box(top=top / shape[0], left=left / shape[1], height=height / shape[0], width=width / shape[1])
    laid = laid_over(lit, MIDDLE, 1 / grid, shape, box)
    seen = np.zeros(shape, np.bool_)
    seen[top : top + height, left : left + width] = True
    assert not laid[~seen].any()
    np.testing.assert_allclose(
        laid[seen].reshape(height, width), laid_over(lit, MIDDLE, 1 / grid, (height, width)), atol=1e-4
    )
    found = np.argwhere(laid > laid.max() - 1e-6).mean(axis=0)
    assert abs(found[0] - row) <= height / grid + 1
    assert abs(found[1] - column) <= width / grid + 1


def test_a_constant_map_fills_the_box_to_the_pixel():
    box = Box(top=0.25, left=0.1, height=0.5, width=0.4)
    laid = laid_over(np.ones((7, 7), np.float32), (0.5 / 32, 0.5 / 32), 1 / 7, (200, 100), box)
    expected = np.zeros((200, 100), np.float32)
    expected[50:150, 10:50] = 1
    np.testing.assert_array_equal(laid, expected)


def test_the_share_inside_is_of_the_whole_map():
    saliency = np.array([[0.0, 1.0], [0.5, 0.5]], np.float32)
    mask = np.array([[True, True], [False, True]])
    assert share_inside(saliency, mask) == pytest.approx(0.75)
    assert share_inside(saliency * 0, mask) is None
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        share_inside(saliency, np.ones((2, 3), np.bool_))
