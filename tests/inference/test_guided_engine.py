"""An engine that is told the lung fields reads within them, and segments nothing."""

from __future__ import annotations

import numpy as np
import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.inference.lung_fields import lung_fields


def chest(left):
    """Two dark lungs, the first one's edge at `left`, with a bright patch in each."""
    picture = np.full((128, 160), 0.9, np.float32)
    for start in (left, left + 60):
        picture[30:100, start : start + 40] = 0.1
        picture[60:70, start + 15 : start + 25] = 0.6
    return picture


def fields_of(engine, picture):
    fields = lung_fields(engine.analyse(picture).lungs)
    assert fields is not None
    return fields


def test_its_own_fields_give_it_what_it_reads_itself(reading_lungs_only):
    picture = chest(20)
    alone = reading_lungs_only.analyse(picture)
    told = reading_lungs_only.analyse_within(picture, fields_of(reading_lungs_only, picture))
    assert told.lungs is None
    for one, other in zip(alone.findings.scores, told.findings.scores, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.02)
    for one, other in zip(alone.saliency, told.saliency, strict=True):
        assert one.box.left == pytest.approx(other.box.left, abs=0.02)
        assert one.box.width == pytest.approx(other.box.width, abs=0.04)


def test_other_fields_are_taken_as_they_are_told(reading_lungs_only):
    picture, fields = chest(10), fields_of(reading_lungs_only, chest(45))
    told = reading_lungs_only.analyse_within(picture, fields)
    assert told.saliency[0].box.left == pytest.approx(fields.box.left, abs=1 / 160)
    assert told.saliency[0].box.left > reading_lungs_only.analyse(picture).saliency[0].box.left + 0.1
    # What lies outside the fields is never seen.
    outside = picture.copy()
    outside[:, :30] = 1
    again = reading_lungs_only.analyse_within(outside, fields)
    assert again.findings == told.findings


def test_a_bundle_that_reads_the_whole_picture_has_no_use_for_fields(reading_lungs_only, tmp_path):

    engine = load_engine(load_bundle(write_toy_bundle(tmp_path)), "cpu")
    picture = chest(20)
    told = engine.analyse_within(picture, fields_of(reading_lungs_only, picture))
    assert told.findings == engine.analyse(picture).findings


def test_it_takes_only_p_values(reading_lungs_only):
    fields = fields_of(reading_lungs_only, chest(20))
    for wrong in (chest(20).astype(np.float64), chest(20) + 1, chest(20)[0]):
        with pytest.raises(ValueError, match="picture"):
            reading_lungs_only.analyse_within(wrong, fields)
