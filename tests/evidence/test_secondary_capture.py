"""The heatmap object: its modules, its honesty about geometry and compression, and no identity in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage
from radiographs import synthetic_chest

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import HeatmapPicture, ReadInstance, heatmap, is_own_output
from cxr_pacs.evidence.secondary_capture import caption
from cxr_pacs.inference.findings import Withheld

PIXELS = synthetic_chest(96, 80, 0)


def picture_of(instance, index=2):
    return HeatmapPicture(
        pixels=PIXELS, saliency=np.tri(96, 80, dtype=np.float32), shown=instance.findings.scores[index]
    )


@pytest.fixture
def capture(read, stamp):
    def make(**tags):
        instance = read(**tags)
        return instance, heatmap(instance, picture_of(instance), stamp)

    return make


def test_it_lies_in_the_study_of_its_source_in_a_series_of_its_own(capture):
    instance, drawn = capture()
    assert drawn.SOPClassUID == SecondaryCaptureImageStorage
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"):
        assert drawn[keyword].value == instance.header[keyword].value
    assert drawn.SeriesInstanceUID != instance.header.SeriesInstanceUID
    assert drawn.SeriesNumber >= 9000
    assert drawn.SeriesDescription == "AI CXR heatmap - not for primary diagnosis"
    assert is_own_output(drawn)


def test_source_derivation_and_equipment_are_coded(capture, model):
    instance, drawn = capture()
    (source,) = drawn.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == instance.header.SOPInstanceUID
    assert source.ReferencedSOPClassUID == instance.header.SOPClassUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert drawn.DerivationCodeSequence[0].CodeValue == "130402"
    assert f"{model.name} {model.version}" in drawn.DerivationDescription
    assert "AI-derived, not a diagnosis" in drawn.DerivationDescription
    assert drawn.ContributingEquipmentSequence[0].DeviceUID == model.device_uid
    assert (drawn.ConversionType, drawn.BurnedInAnnotation, drawn.RecognizableVisualFeatures) == (
        "WSD",
        "NO",
        "NO",
    )
    assert drawn.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (drawn.DateOfSecondaryCapture, drawn.TimeOfSecondaryCapture) == ("20260102", "102030.456789")


def test_nobody_can_measure_on_it(capture):
    _, drawn = capture()
    assert not {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"} & set(drawn.dir())


def test_pixels_are_native_rgb_of_the_declared_size(capture, read_back):
    _, drawn = capture()
    read = read_back(drawn)
    assert read.pixel_array.shape == (drawn.Rows, drawn.Columns, 3)
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert len(read.PixelData) % 2 == 0
    assert np.ptp(read.pixel_array, axis=2).max() > 30


@pytest.mark.parametrize(
    ("orientation", "kept"), [(["L", "F"], ["L", "F"]), (["R", "FR"], ["R", "FR"]), ("", None), ("L", None)]
)
def test_orientation_is_kept_or_left_unknown(capture, orientation, kept):
    _, drawn = capture(PatientOrientation=orientation)
    assert "PatientOrientation" in drawn
    assert (list(drawn.PatientOrientation) if drawn.PatientOrientation else None) == kept


def test_what_was_lossy_stays_lossy(capture, read, stamp):
    assert capture()[1].LossyImageCompression == "00"
    assert capture(LossyImageCompression="01")[1].LossyImageCompression == "01"
    instance = read(LossyImageCompression=None)
    instance.header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert heatmap(instance, picture_of(instance), stamp).LossyImageCompression == "01"


@pytest.mark.parametrize(
    ("ratio", "method"), [("12.5", "ISO_10918_1"), (["12.5", "3"], ["ISO_10918_1", "ISO_14495_1"])]
)
def test_ratio_and_method_of_a_lossy_source_are_carried_over(
    capture, dciodvfy_errors, read_back, ratio, method
):
    details = {"LossyImageCompressionRatio": ratio, "LossyImageCompressionMethod": method}
    _, drawn = capture(LossyImageCompression="01", **details)
    written = read_back(drawn)
    assert written.LossyImageCompressionRatio == ratio
    assert written.LossyImageCompressionMethod == method
    assert dciodvfy_errors(drawn) == []
    _, lossless = capture(LossyImageCompression="00", **details)
    assert not set(details) & set(lossless.dir())


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("LossyImageCompressionRatio", "DS", b"about 10"),
        ("LossyImageCompressionRatio", "DS", b"10\\high "),
        ("LossyImageCompressionRatio", "DS", b"0." + b"3" * 20),
        ("LossyImageCompressionMethod", "CS", b"jpeg"),
        ("LossyImageCompressionMethod", "CS", b""),
    ],
)
def test_a_damaged_ratio_or_method_is_left_out(read, stamp, keyword, vr, value):
    instance = read(LossyImageCompression="01")
    tag = Tag(tag_for_keyword(keyword))
    instance.header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    drawn = heatmap(instance, picture_of(instance), stamp)
    assert drawn.LossyImageCompression == "01"
    assert keyword not in drawn


def test_a_bare_dataset_will_do_as_header(read, stamp):
    instance = read()
    bare = type(instance.header).__mro__[1](instance.header)
    assert not hasattr(bare, "file_meta")
    drawn = heatmap(dataclasses.replace(instance, header=bare), picture_of(instance), stamp)
    assert drawn.LossyImageCompression == "00"


def test_each_class_has_a_picture_of_its_own(read, stamp):
    instance = read()
    uids = {
        heatmap(instance, picture_of(instance, index), stamp).SOPInstanceUID
        for index in range(len(instance.findings.scores))
    }
    assert len(uids) == 5


def test_the_caption_names_only_what_is_told(read, findings):
    shown = findings.head("multiclass")[0]
    assert (
        caption(shown, findings, "en").lines[0] == "Head multiclass: COVID-19, bacterial pneumonia or normal"
    )
    told = dataclasses.replace(
        findings,
        scores=tuple(s for s in findings.scores if s.label != "bacterial_pneumonia"),
        withheld=(Withheld(head="multiclass", label="bacterial_pneumonia", reason="No claim."),),
    )
    below = caption(shown, told, "en")
    assert below.lines[0] == (
        "Head multiclass: COVID-19 or normal; what is not claimed for this patient is withheld"
    )
    assert not any("bacterial" in line for line in (below.title, *below.lines))


@pytest.mark.parametrize(("number", "expected"), [(7, 7), ("", 1), (None, 1), (-3, 1), (0, 1)])
def test_the_instance_number_is_that_of_the_source_where_it_can_be(capture, number, expected):
    assert capture(InstanceNumber=number)[1].InstanceNumber == expected


def test_a_score_that_is_not_among_the_findings_is_refused(read, stamp):
    instance = read()
    shown = dataclasses.replace(instance.findings.scores[0], score=0.5)
    strange = dataclasses.replace(picture_of(instance), shown=shown)
    with pytest.raises(EvidenceError, match="binary/covid19"):
        heatmap(instance, strange, stamp)


def test_an_instance_number_beyond_its_range_gives_way(read, stamp):
    instance = read()
    tag = instance.header.get_item("InstanceNumber").tag
    digits = b"999999999999"
    instance.header[tag] = RawDataElement(tag, "IS", len(digits), digits, 0, False, True)
    assert heatmap(instance, picture_of(instance), stamp).InstanceNumber == 1


def test_no_identity_in_pixels_descriptions_or_uids(read, stamp, findings):
    """The same picture for another patient differs in nothing but the patient's own attributes."""
    identity = {
        "PatientName": "Other^Person",
        "PatientID": "ID-OTHER",
        "PatientBirthDate": "19010101",
        "AccessionNumber": "ACC-OTHER",
    }
    first = read()
    other = ReadInstance(header=read(**identity).header, findings=findings)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        other.header[keyword].value = first.header[keyword].value
    drawn, foreign = (heatmap(instance, picture_of(instance), stamp) for instance in (first, other))
    assert {element.keyword for element in drawn if element != foreign[element.tag]} == set(identity)
