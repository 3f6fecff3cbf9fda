"""The activation map as a fractional Segmentation of its source."""

from __future__ import annotations

import dataclasses

import highdicom as hd
import numpy as np
import pytest
from optional_objects import blob, dciodvfy, picture_of
from radiographs import make_radiograph, synthetic_chest
from test_evidence_conformance import _make_raw as make_raw

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import ReadInstance, check, report, segmentation


@pytest.fixture
def made(read, stamp):
    instance = read()
    return instance, segmentation(instance, picture_of(instance), stamp)


def test_its_fractions_are_the_map_in_the_geometry_of_the_source(made, read_back):
    instance, dataset = made
    pixels = read_back(dataset).pixel_array
    assert pixels.shape == (instance.header.Rows, instance.header.Columns)
    expected = blob(*pixels.shape)
    assert np.abs(pixels / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert (dataset.SegmentationType, dataset.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert dataset.MaximumFractionalValue == 255


def test_highdicom_reads_it_as_an_image_of_the_source(made, read_back):
    instance, dataset = made
    image = hd.Image.from_dataset(read_back(dataset))
    assert [str(uid) for _, _, uid in image.get_source_image_uids()] == [instance.header.SOPInstanceUID]
    assert image.get_frame(1) / 255 == pytest.approx(blob(512, 448), abs=0.003)


def test_highdicom_reads_one_without_a_spacing_as_a_segmentation(read, stamp, read_back):
    instance = read(ImagerPixelSpacing=None, PixelSpacing=None)
    dataset = segmentation(instance, picture_of(instance), stamp)
    segments = hd.seg.Segmentation.from_dataset(read_back(dataset))
    assert segments.number_of_segments == 1
    values = segments.get_pixels_by_source_instance([instance.header.SOPInstanceUID])
    assert values.max() == pytest.approx(1.0)
    assert values[0, :, :, 0] == pytest.approx(blob(*values.shape[1:3]), abs=0.003)


def test_the_segment_says_what_it_is_and_is_tracked_as_in_the_report(made, stamp, model):
    instance, dataset = made
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "130402"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (model.name, model.version)
    assert model.digest in algorithm.AlgorithmParameters
    assert "no outline of a lesion" in segment.SegmentDescription
    assert segment.TrackingID == "multiclass/covid19"
    assert segment.TrackingUID in report([instance], [], (), stamp).to_json()


def test_a_dark_map_makes_none(read, stamp):
    instance = read()
    dark = picture_of(instance, saliency=np.zeros((512, 448), np.float32))
    assert segmentation(instance, dark, stamp) is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, ["0.2", "0.1"]),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.175, 0.175]}, ["0.175", "0.175"]),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0, 0.1]}, ["0.2", "0.2"]),
        ({"ImagerPixelSpacing": [1 / 7, 1e-9 / 7]}, ["0.14285714285714", "1.4285714286e-10"]),
        ({"ImagerPixelSpacing": None, "PixelSpacing": None, "NominalScannedPixelSpacing": [1, 1]}, None),
    ],
)
def test_its_pixels_are_as_far_apart_as_those_of_the_source(read, stamp, tmp_path, tags, expected):
    instance = read(PixelSpacing=None)
    for keyword, value in tags.items():
        if value is None:
            instance.header.pop(keyword, None)
        else:
            text = "\\".join(map(repr, value)).encode()
            make_raw(instance.header, keyword, text + b" " * (len(text) % 2))
    made = segmentation(instance, picture_of(instance), stamp)
    (shared,) = made.SharedFunctionalGroupsSequence
    measures = [list(map(str, item.PixelSpacing)) for item in shared.get("PixelMeasuresSequence", ())]
    assert measures == ([] if expected is None else [expected])
    assert check(made) == ()
    assert dciodvfy(made, tmp_path) == []


def test_odd_sizes_are_padded(findings, stamp, read_back):
    header = make_radiograph(picture=synthetic_chest(75, 65, 0))
    instance = ReadInstance(header=header, findings=findings)
    dataset = segmentation(instance, picture_of(instance), stamp)
    assert len(dataset.PixelData) == 75 * 65 + 1
    assert read_back(dataset).pixel_array.shape == (75, 65)


def test_what_was_lossy_stays_lossy(read, stamp):
    instance = read(LossyImageCompression="01")
    assert segmentation(instance, picture_of(instance), stamp).LossyImageCompression == "01"


def test_a_map_of_another_size_or_without_numbers_is_refused(read, stamp):
    instance = read()
    with pytest.raises(EvidenceError, match="512, 448"):
        segmentation(instance, picture_of(instance, saliency=blob(5, 4)), stamp)
    broken = blob(512, 448)
    broken[0, 0] = np.nan
    with pytest.raises(EvidenceError, match="finite"):
        segmentation(instance, picture_of(instance, saliency=broken), stamp)


def test_each_class_has_one_of_its_own(read, stamp):
    instance = read()
    uids = {segmentation(instance, picture_of(instance, n), stamp).SOPInstanceUID for n in range(5)}
    assert len(uids) == 5
    unlike = dataclasses.replace(stamp, configuration_digest="x")
    assert segmentation(instance, picture_of(instance, 0), unlike).SOPInstanceUID not in uids
