"""The decision on, and the rendering of, every real and derived sample file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import SelectionPolicy, decide, read_header, read_radiograph, valid_part

TABLE = {
    "real/chest_cr_philips_mono1_j2k": ("accept", "view_position"),
    # A real chest PA whose Patient ID is absent: see test_the_only_obstacle_is_the_patient_id.
    "real/chest_cr_fuji_mono1_10bit": ("hold", "identity"),
    "real/chest_rsna_mono2_jpegbaseline": ("accept", "view_position"),
    # A dog, lateral, though its Patient Orientation says L\F.
    "real/thorax_dx_fuji_mono1_small": ("skip", "species"),
    "real/chest_cr_agfa_charset_japanese_32px": ("hold", "image"),
    "real/extremity_cr_fuji_mono1_j2klossless": ("skip", "body_part"),
    "real/extremity_cr_fuji_mono1_rle": ("skip", "body_part"),
    "real/hip_cr_fuji_mono2_jpeglossless": ("skip", "body_part"),
    "real/hip_cr_fuji_mono2_jpegls": ("skip", "body_part"),
    "real/cr_mono1_modality_lut_sequence_jpeglossless": ("hold", "body_part"),
    "real/ot_voi_lut_sequence": ("skip", "modality"),
    "real/ot_modality_lut_sequence": ("skip", "modality"),
    "real/mg_overlay_jpeglossless": ("skip", "sop_class"),
    "real/ct_reject": ("skip", "sop_class"),
    "real/no_pixel_data": ("skip", "sop_class"),
    **{f"derived/derived_{n:02}": ("accept", "view_position") for n in range(8)},
}
WITHOUT_PIXELS = {"real/chest_cr_agfa_charset_japanese_32px", "real/no_pixel_data"}


def test_the_table_names_every_file(samples):
    found = {f"{path.parent.name}/{path.stem}" for path in samples.glob("*/*.dcm")}
    assert found == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_decision(samples, name):
    decision = decide(read_header(dcmread(samples / f"{name}.dcm")), SelectionPolicy())
    assert (decision.outcome, decision.rung) == TABLE[name], decision.reason
    assert decision.reason.endswith(".")


def test_the_only_obstacle_is_the_patient_id(samples):
    facts = read_header(dcmread(samples / "real/chest_cr_fuji_mono1_10bit.dcm"))
    decision = decide(facts, SelectionPolicy(require_patient_id=False))
    assert (decision.outcome, decision.rung) == ("accept", "view_position")


@pytest.mark.parametrize("name", sorted(set(TABLE) - WITHOUT_PIXELS))
def test_every_picture_renders_with_contrast(samples, name):
    radiograph = read_radiograph(dcmread(samples / f"{name}.dcm"))
    assert radiograph.pixels.dtype == np.float32
    assert radiograph.pixels.min() >= 0
    assert radiograph.pixels.max() <= 1
    dark, bright = np.quantile(radiograph.pixels, (0.02, 0.98))
    assert bright - dark > 0.25


@pytest.mark.parametrize("name", sorted(WITHOUT_PIXELS))
def test_no_pixels(samples, name):
    with pytest.raises(UnreadablePixels):
        read_radiograph(dcmread(samples / f"{name}.dcm"))


@pytest.mark.parametrize("name", sorted(n for n in TABLE if n.startswith("derived/")))
def test_polarity_lungs_are_darker_than_the_mediastinum(samples, name):
    part, _ = valid_part(read_radiograph(dcmread(samples / f"{name}.dcm")))
    square = cv2.resize(part, (224, 224), interpolation=cv2.INTER_AREA)
    middle = np.median(square[60:150, 100:124])
    lungs = min(np.median(square[60:150, 45:85]), np.median(square[60:150, 140:180]))
    assert lungs < middle


def test_a_voi_lut_made_for_other_values_gives_way_to_the_window(samples):
    # 15 bits stored, a LUT for 0..4095: every pixel would be black.
    radiograph = read_radiograph(dcmread(samples / "derived/derived_06.dcm"))
    assert radiograph.quality == ("VOI LUT leaves the picture without contrast and was ignored.",)


def test_the_same_hip_in_two_compressions(samples):
    first, second = (
        read_radiograph(dcmread(samples / f"real/hip_cr_fuji_mono2_{kind}.dcm")).pixels
        for kind in ("jpeglossless", "jpegls")
    )
    np.testing.assert_array_equal(first, second)


def test_the_test_pattern_reaches_black_and_white(samples):
    for name in ("ot_modality_lut_sequence", "ot_voi_lut_sequence"):
        pixels = read_radiograph(dcmread(samples / f"real/{name}.dcm")).pixels
        assert pixels.min() == 0
        assert pixels.max() == 1
        bars = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
        assert bars[48].max() > 0.95  # SMPTE: the bright bar in the lower half
