"""Whole datasets to P-values: the same picture looks the same, however it was stored."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from radiographs import make_radiograph, make_stored, synthetic_chest

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import read_radiograph, valid_part

PICTURE = synthetic_chest(150, 121, 7)
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_same_picture_renders_the_same(syntax, bits, photometric):
    dataset = make_radiograph(picture=PICTURE, bits=bits, photometric=photometric, transfer_syntax=syntax)
    radiograph = read_radiograph(dataset)
    half_a_step = 0.5 / ((1 << bits) - 1)
    np.testing.assert_allclose(radiograph.pixels, PICTURE, atol=half_a_step + 1e-6)
    assert radiograph.pixels.dtype == np.float32
    assert radiograph.valid.all()
    assert radiograph.quality == ()


def test_an_outer_and_an_inner_way_to_store_the_same_picture():
    codes = np.rint(PICTURE * 4095).astype(np.int16)
    plain = make_stored(codes.astype(np.uint16), bits=12, tags={"WindowCenter": 2048, "WindowWidth": 4096})
    shifted = make_stored(  # signed, moved back by the intercept, shown by another window
        codes - 2048,
        bits=12,
        tags={"RescaleIntercept": 2048, "WindowCenter": 2048, "WindowWidth": 4096},
    )
    np.testing.assert_allclose(read_radiograph(plain).pixels, PICTURE, atol=2e-4)
    np.testing.assert_array_equal(read_radiograph(plain).pixels, read_radiograph(shifted).pixels)


def test_padding_and_shutter_are_black_and_not_valid():
    picture = np.full((200, 160), 0.5, np.float32)
    picture[:, :20] = 1  # padding, brighter than anything
    radiograph = read_radiograph(
        make_radiograph(
            picture=picture,
            PixelPaddingValue=4095,
            ShutterShape="RECTANGULAR",
            ShutterUpperHorizontalEdge=51,
            ShutterLowerHorizontalEdge=200,
            ShutterLeftVerticalEdge=1,
            ShutterRightVerticalEdge=160,
        )
    )
    assert radiograph.valid[50:, 20:].all()
    assert radiograph.valid.sum() == 150 * 140
    assert not radiograph.pixels[~radiograph.valid].any()
    part, geometry = valid_part(radiograph)
    assert (geometry.top, geometry.left) == (50, 20)
    np.testing.assert_allclose(part, 0.5, atol=1e-3)


def test_monochrome1_padding_is_black_too():
    picture = np.full((200, 160), 0.5, np.float32)
    picture[:, :20] = 1
    radiograph = read_radiograph(
        make_radiograph(picture=picture, photometric="MONOCHROME1", PixelPaddingValue=0)
    )
    assert not radiograph.pixels[:, :20].any()
    assert radiograph.valid.sum() == 200 * 140


def test_padding_does_not_count_when_a_window_is_judged():
    # Most of the plate is padding at one end of the window; the picture itself has contrast.
    picture = np.zeros((200, 160), np.float32)
    picture[90:110, 70:90] = PICTURE[:20, :20] * 0.5 + 0.25
    radiograph = read_radiograph(make_radiograph(picture=picture, PixelPaddingValue=0))
    assert radiograph.valid.sum() == 400
    assert radiograph.quality == ("Padding or shutter hide more than half of the picture.",)


def test_hiding_everything_is_unreadable():
    with pytest.raises(UnreadablePixels, match="nothing"):
        read_radiograph(
            make_radiograph(
                ShutterShape="CIRCULAR",
                CenterOfCircularShutter=[9000, 9000],
                RadiusOfCircularShutter=10,
            )
        )


@pytest.mark.parametrize(
    ("tags", "aspect"),
    [
        ({}, 1.0),
        ({"PixelSpacing": [0.4, 0.2]}, 2.0),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.2]}, 0.5),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": None}, 1.0),
        ({"PixelSpacing": None, "ImagerPixelSpacing": None, "PixelAspectRatio": [3, 2]}, 1.5),
        ({"PixelSpacing": "0.2", "ImagerPixelSpacing": [0.3, 0.1]}, 3.0),
    ],
)
def test_aspect(tags, aspect):
    assert read_radiograph(make_radiograph(picture=PICTURE, **tags)).aspect == pytest.approx(aspect)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (["L", "F"], []),
        (["R", "F"], ["mirrored"]),
        (["L", "H"], ["upside down"]),
        (["R", "H"], ["mirrored", "upside down"]),
        (["A", "F"], []),
        ([], []),
    ],
)
def test_orientation_remarks(orientation, expected):
    quality = read_radiograph(make_radiograph(picture=PICTURE, PatientOrientation=orientation)).quality
    assert len(quality) == len(expected)
    assert all(word in remark for word, remark in zip(expected, quality, strict=True))


def test_a_contradiction_of_polarity_is_a_remark():
    radiograph = read_radiograph(make_radiograph(picture=PICTURE, PresentationLUTShape="INVERSE"))
    np.testing.assert_allclose(radiograph.pixels, PICTURE, atol=2e-4)
    assert "trusted" in radiograph.quality[0]


def test_for_processing_is_brought_to_the_look_of_one_for_presentation():
    # A detector's linear signal: dark where the body absorbs.
    signal = np.rint(4000 * np.exp(-3 * PICTURE)).astype(np.uint16)
    radiograph = read_radiograph(
        make_stored(
            signal,
            bits=12,
            tags={
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1",
                "PresentationIntentType": "FOR PROCESSING",
                "PixelIntensityRelationship": "LIN",
                "PixelIntensityRelationshipSign": 1,
            },
        )
    )
    inner = (np.quantile(PICTURE, 0.02) < PICTURE) & (np.quantile(PICTURE, 0.98) > PICTURE)
    assert np.corrcoef(radiograph.pixels[inner], PICTURE[inner])[0, 1] > 0.999


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "PALETTE COLOR", None])
def test_colour_is_refused(photometric):
    with pytest.raises(UnreadablePixels, match="Photometric"):
        read_radiograph(make_radiograph(picture=PICTURE, PhotometricInterpretation=photometric))


def test_the_dataset_is_not_changed():
    dataset = make_radiograph(picture=PICTURE, transfer_syntax=JPEGLSLossless)
    before = dataset.to_json()
    read_radiograph(dataset)
    assert dataset.to_json() == before
