"""An engine that sees only lung fields: its toy lung network takes what is dark for lung."""

from __future__ import annotations

import numpy as np
import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.inference.engine import NO_LUNG_FIELDS


def chest(rows=600, columns=500):
    """Two dark lungs in a bright body; where they are, as a mask."""
    y, x = np.indices((rows, columns)) / np.array([rows, columns]).reshape(2, 1, 1)
    lungs = np.zeros((rows, columns), np.bool_)
    for middle in (0.32, 0.68):
        lungs |= ((x - middle) / 0.12) ** 2 + ((y - 0.45) / 0.28) ** 2 <= 1
    return np.where(lungs, np.float32(0.2), np.float32(0.8)), lungs


def test_the_mask_lies_over_the_picture(reading_lungs_only):
    picture, lungs = chest()
    found = reading_lungs_only.analyse(picture).lungs
    assert found.shape == picture.shape
    assert found.dtype == np.bool_
    assert (found & lungs).sum() / (found | lungs).sum() > 0.85  # of 32 cells a side


def test_what_lies_outside_the_lung_fields_changes_no_score(reading_lungs_only):
    picture, _ = chest()
    other = picture.copy()
    other[:60], other[-100:], other[:, :50] = 1.0, 0.7, 0.9  # burned-in text, another table, another arm
    one, another = (reading_lungs_only.analyse(p) for p in (picture, other))
    assert [s.score for s in one.findings.scores] == pytest.approx(
        [s.score for s in another.findings.scores], abs=1e-3
    )


@pytest.mark.parametrize("at", [(0.3, 0.32), (0.6, 0.32), (0.3, 0.66), (0.55, 0.64)])
def test_a_bright_patch_in_a_lung_is_found_at_its_place(reading_lungs_only, at):
    picture, lungs = chest()
    row, column = (int(share * side) for share, side in zip(at, picture.shape, strict=True))
    picture[lungs] = 0.02
    patched = picture.copy()
    patched[row - 25 : row + 25, column - 20 : column + 20] = 0.95
    # What is blanked is brighter than lung, so only what the patch adds tells where it is.
    dark, lit = (covid_map(reading_lungs_only.analyse(p)) for p in (picture, patched))
    assert dark.box == lit.box
    assert lit.box.top > 0.1
    assert lit.box.width < 0.7
    assert not lit.over(picture.shape)[: int(lit.box.top * 600) - 1].any()
    added = lit.over(picture.shape) - dark.over(picture.shape)
    found = np.argwhere(added > 0.9 * added.max()).mean(axis=0) / picture.shape
    cell = np.array([lit.box.height, lit.box.width]) / 7
    assert (abs(found - at) <= 0.75 * cell).all(), (found, cell)


def covid_map(analysis):
    return next(s for s in analysis.saliency if (s.head, s.label) == ("multiclass", "covid19"))


def test_without_lungs_the_whole_picture_is_read_and_that_is_said(reading_lungs_only):
    white = np.full((300, 260), 0.9, np.float32)
    analysis = reading_lungs_only.analyse(white)
    assert analysis.quality == (NO_LUNG_FIELDS,)
    assert analysis.lungs.shape == white.shape
    assert not analysis.lungs.any()
    assert analysis.saliency[0].over(white.shape).all()


def test_squash_with_a_lung_network_sees_all_and_knows_the_lungs(tmp_path):
    engine = load_engine(load_bundle(write_toy_bundle(tmp_path, lungs="squash-area")), "cpu")
    picture, lungs = chest()
    analysis = engine.analyse(picture)
    assert (analysis.lungs & lungs).sum() / lungs.sum() > 0.8
    assert analysis.saliency[0].box.height == 1
    assert analysis.quality == ()
