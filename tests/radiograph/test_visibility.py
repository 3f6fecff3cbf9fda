"""Padding and shutter against the standard's words, one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from cxr_pacs.radiograph.pixels import StoredPixels
from cxr_pacs.radiograph.visibility import inside_shutter, not_padding

SHAPE = (20, 30)


def stored(bits, *, signed):
    return StoredPixels(codes=np.zeros((1, 1), np.uint16), bits=bits, signed=signed)


def shuttered(aspect=1.0, **elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return inside_shutter(dataset, SHAPE, aspect)


@given(
    bits=st.integers(8, 12),
    signed=st.booleans(),
    one=st.integers(-2100, 4200),
    other=st.none() | st.integers(-2100, 4200),
    contradicting=st.booleans(),
)
def test_padding_range_in_either_order(bits, signed, one, other, contradicting):
    if not signed:
        one, other = abs(one), None if other is None else abs(other)
    dataset = Dataset()

    def put(keyword, value):
        as_word = contradicting or value >= 0  # some write negative values as US
        dataset.add(DataElement(keyword, "US" if as_word else "SS", value & 0xFFFF if as_word else value))

    put("PixelPaddingValue", one)
    if other is not None:
        put("PixelPaddingRangeLimit", other)
    low, high = sorted((one, one if other is None else other))
    for code, visible in enumerate(not_padding(dataset, stored(bits, signed=signed))):
        value = code - (1 << bits) if signed and code >= 1 << (bits - 1) else code
        assert visible == (not low <= value <= high)


def test_without_padding_all_is_picture():
    assert not_padding(Dataset(), stored(8, signed=False)).all()


def test_padding_outside_the_stored_range_hides_nothing():
    dataset = Dataset()
    dataset.add(DataElement("PixelPaddingValue", "US", 0xF000))  # 12 bits of it would be 0
    assert not_padding(dataset, stored(12, signed=False)).all()


@given(
    edges=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 30), st.integers(1, 30)),
)
def test_rectangle(edges):
    upper, lower, left, right = edges
    found = shuttered(
        ShutterShape="RECTANGULAR",
        ShutterUpperHorizontalEdge=upper,
        ShutterLowerHorizontalEdge=lower,
        ShutterLeftVerticalEdge=left,
        ShutterRightVerticalEdge=right,
    )
    for row, column in np.ndindex(SHAPE):
        inside = upper <= row + 1 <= lower and left <= column + 1 <= right
        assert found[row, column] == inside


def test_a_rectangle_beyond_the_picture_hides_nothing():
    found = shuttered(
        ShutterShape="RECTANGULAR",
        ShutterUpperHorizontalEdge=0,
        ShutterLowerHorizontalEdge=99,
        ShutterLeftVerticalEdge=-5,
        ShutterRightVerticalEdge=99,
    )
    assert found.all()


@given(
    centre=st.tuples(st.integers(1, 20), st.integers(1, 30)),
    radius=st.integers(1, 25),
    aspect=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_circle(centre, radius, aspect):
    found = shuttered(
        aspect,
        ShutterShape="CIRCULAR",
        CenterOfCircularShutter=list(centre),
        RadiusOfCircularShutter=radius,
    )
    for row, column in np.ndindex(SHAPE):
        distance = np.hypot((row + 1 - centre[0]) * aspect, column + 1 - centre[1])
        assert found[row, column] == (distance <= radius)


def test_polygon():
    found = shuttered(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 11, 11, 1])
    rows, columns = np.indices(SHAPE) + 1
    np.testing.assert_array_equal(found, (rows - 1) + (columns - 1) <= 10)


def test_two_shapes_hide_what_either_hides():
    found = shuttered(
        ShutterShape=["RECTANGULAR", "CIRCULAR"],
        ShutterUpperHorizontalEdge=10,
        ShutterLowerHorizontalEdge=20,
        ShutterLeftVerticalEdge=1,
        ShutterRightVerticalEdge=30,
        CenterOfCircularShutter=[10, 15],
        RadiusOfCircularShutter=5,
    )
    assert found[9, 14]
    assert not found[5, 14]
    assert not found[9, 0]


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 3},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [3, 3]},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": 3, "RadiusOfCircularShutter": 3},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 2, 2]},
    ],
)
def test_no_or_incomplete_shutter(elements):
    assert shuttered(**elements) is None
