"""A bright patch in the source lights the same place of the Secondary Capture, within half a feature cell."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from radiographs import make_radiograph
from toy_bundle import write_toy_bundle

from cxr_pacs.gateway.reading import Reader
from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.settings import Settings

CELLS = 7


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    bundle = write_toy_bundle(tmp_path_factory.mktemp("toy"), size=32 * CELLS)
    return Reader(Settings(), load_engine(load_bundle(bundle), "cpu"))


def picture(shape, centre):
    """A dark picture with a patch of one feature cell about `centre`, a share of each side."""
    rows, columns = shape
    dark = np.full(shape, 0.05, np.float32)
    top, left = (int(side * at - side / CELLS / 2) for side, at in zip(shape, centre, strict=True))
    dark[max(0, top) : top + rows // CELLS, max(0, left) : left + columns // CELLS] = 0.95
    return dark


def hottest(capture, shape, aspect):
    """Where the colour is strongest, as a share of the picture's height and width; the caption is below."""
    height = round(shape[0] * aspect * capture.Columns / shape[1])
    shown = capture.pixel_array[:height].astype(np.float64)
    colour = (shown.max(axis=2) - shown.min(axis=2)) ** 4
    rows, columns = np.indices(colour.shape)
    return (
        (rows * colour).sum() / colour.sum() / colour.shape[0],
        (columns * colour).sum() / colour.sum() / colour.shape[1],
    )


# The last cell's centre lies almost a cell before the border, and from there on the map is constant: a patch
# about it seems to reach to the border. Elsewhere a shift by half a cell would be found.
@pytest.mark.parametrize(
    ("centre", "cells"),
    [
        ((0.5, 0.5), 0.35),
        ((0.2, 0.3), 0.35),
        ((0.36, 0.7), 0.35),
        ((0.65, 0.25), 0.35),
        ((0.85, 0.15), 0.5),
        ((0.08, 0.92), 0.5),
    ],
)
@pytest.mark.parametrize(
    ("shape", "aspect", "tags"),
    [
        ((700, 700), 1.0, {}),
        ((1500, 1100), 1.0, {"photometric": "MONOCHROME1"}),
        ((400, 640), 1.0, {"bits": 10}),
        ((500, 600), 1.5, {"PixelSpacing": [0.3, 0.2]}),
    ],
)
def test_the_colour_lies_on_the_patch(reader, tmp_path, shape, aspect, tags, centre, cells):
    path = tmp_path / "patch.dcm"
    make_radiograph(picture=picture(shape, centre), **tags).save_as(path)
    reading = reader.read(path, 0.0)
    assert reading.findings.principal.label == "covid19", "the toy looks for brightness under this name"
    found = hottest(reading.heatmap, shape, aspect)
    assert found == pytest.approx(centre, abs=cells / CELLS)


def test_what_the_shutter_hides_is_cropped_and_found_again(reader, tmp_path):
    """With the outer quarter of each side hidden, the cells divide what is left."""
    path = tmp_path / "shutter.dcm"
    tags = {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 200,
        "ShutterRightVerticalEdge": 600,
        "ShutterUpperHorizontalEdge": 200,
        "ShutterLowerHorizontalEdge": 600,
    }
    make_radiograph(picture=picture((800, 800), (0.6, 0.4)), **tags).save_as(path)
    capture = reader.read(path, 0.0).heatmap
    assert hottest(capture, (800, 800), 1.0) == pytest.approx((0.6, 0.4), abs=0.35 * 0.5 / CELLS)


def test_the_source_is_not_changed(reader, tmp_path):
    path = tmp_path / "source.dcm"
    make_radiograph().save_as(path)
    before = path.read_bytes()
    reader.read(path, 0.0)
    assert path.read_bytes() == before
    assert dcmread(path).pixel_array.any()
