"""The optional objects before our own check and dicom3tools, from many headers; the same bytes each time."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optional_objects import all_of, dcentvfy, dciodvfy, part10
from pydicom import dcmread
from pydicom.uid import UID
from test_evidence_conformance import HEADERS, plant, requested
from test_evidence_conformance import _make_raw as make_raw
from test_evidence_of_real_headers import headers

from cxr_pacs.evidence import ReadInstance, check, is_own_output
from cxr_pacs.inference.findings import ClassCode

SR, SEG, PR, KO, TX = range(1, 6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("header", HEADERS)
def test_no_complaint_for_any_source(read, stamp, tmp_path, header, photometric):
    tags = dict(HEADERS[header])
    if "TimezoneOffsetFromUTC" in tags:
        tags["RequestAttributesSequence"] = [requested()]
    instance = read("The image is small.", photometric=photometric, **tags)
    made = all_of(instance, stamp)
    for dataset in made:
        assert check(dataset) == ()
        assert dciodvfy(dataset, tmp_path) == []
        assert is_own_output(dataset)
        assert dataset.StudyInstanceUID == instance.header.StudyInstanceUID
    assert len({dataset.SeriesInstanceUID for dataset in made}) == len(made)
    assert len({dataset.SeriesNumber for dataset in made}) == len(made)
    assert dcentvfy([instance.header, *made], tmp_path) == []


@pytest.mark.parametrize("path", list(headers()))
def test_no_error_from_real_headers(path, findings, stamp, tmp_path):
    header = dcmread(path, stop_before_pixels=True)
    instance = ReadInstance(header=header, findings=findings, quality=("One remark.",))
    made = [dataset for dataset in all_of(instance, stamp) if dataset is not None]
    for dataset in made:
        assert check(dataset) == ()
        assert not [line for line in dciodvfy(dataset, tmp_path) if line.startswith("Error")]
    assert dcentvfy(made, tmp_path) == []


# As bytes, since no library writes most of these; None leaves the element out.
_TAGS = st.fixed_dictionaries(
    {},
    optional={
        "PatientOrientation": st.sampled_from([b"", None, b"L\\F", b"x\\F ", b"A "]),
        "WindowCenter": st.sampled_from([b"", None, b"100 ", b"200\\300 ", b"abc ", b"1e30", b"1e-300"]),
        "WindowWidth": st.sampled_from([b"", None, b"0 ", b"-5", b"0.5 ", b"400 ", b"333.333333333333"]),
        "VOILUTFunction": st.sampled_from([b"", None, b"SIGMOID ", b"LINEAR_EXACT", b"OTHER "]),
        "RescaleSlope": st.sampled_from([b"", None, b"0 ", b"2 ", b"x ", b"nan "]),
        "RescaleIntercept": st.sampled_from([b"", None, b"-1024 ", b"0.333333333333333333 "]),
        "RescaleType": st.sampled_from([b"", None, b"OD", b"A VERY LONG RESCALE TYPE"]),
        "ShutterShape": st.sampled_from(
            [b"", None, b"CIRCULAR", b"RECTANGULAR\\POLYGONAL ", b"OVAL", b"CIRCULAR\\CIRCULAR "]
        ),
        "CenterOfCircularShutter": st.sampled_from([b"", None, b"256\\224 ", b"1 ", b"a\\b "]),
        "RadiusOfCircularShutter": st.sampled_from([b"", None, b"200 ", b"99999999999 "]),
        "VerticesOfThePolygonalShutter": st.sampled_from([None, b"1\\1\\1\\400\\500\\400 ", b"1\\2\\3 "]),
        "InstanceNumber": st.sampled_from([b"", None, b"7 ", b"x ", b"-1"]),
        "PatientName": st.sampled_from(
            [b"", None, *(n.encode() for n in ("Иванов^Иван", "Ångström^Åsa", "김^희중", "山田^太郎^"))]
        ),
        "LossyImageCompression": st.sampled_from([b"", None, b"01", b"x "]),
    },
)


@given(tags=_TAGS)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_complaint_for_odd_tags(read, stamp, tmp_path, tags):
    instance = read()
    for keyword, value in tags.items():
        if value is not None:
            make_raw(instance.header, keyword, value)
        elif keyword in instance.header:
            del instance.header[keyword]
    for dataset in all_of(instance, stamp):
        assert check(dataset) == ()
        assert dciodvfy(dataset, tmp_path) == []


def containers(item):
    if item.get("ValueType") == "CONTAINER":
        yield item
    for child in item.get("ContentSequence", ()):
        yield from containers(child)


@pytest.mark.parametrize("which", [SR, KO, TX])
def test_the_items_of_every_container_stand_each_for_itself(read, stamp, which):
    found = list(containers(all_of(read(), stamp)[which]))
    assert len(found) == {SR: 10, KO: 1, TX: 5}[which]
    assert {container.ContinuityOfContent for container in found} == {"SEPARATE"}


def test_twice_the_same_bytes(read, stamp):
    first, second = ([part10(made) for made in all_of(read("One."), stamp)] for _ in range(2))
    assert first == second


def test_other_settings_or_model_make_other_uids(read, stamp, model):
    instance = read()
    other = dataclasses.replace(instance.findings, model=dataclasses.replace(model, digest="f" * 64))
    variants = [
        all_of(instance, stamp),
        all_of(instance, dataclasses.replace(stamp, configuration_digest="d")),
        all_of(ReadInstance(header=instance.header, findings=other), stamp),
    ]
    uids = [made.SOPInstanceUID for variant in variants for made in variant]
    assert len(set(uids)) == len(uids)


def test_words_in_any_script_are_declared_and_read_back(read, stamp, model, read_back, tmp_path):
    classes = tuple(
        ClassCode(label=c.label, value=c.value, scheme=c.scheme, meaning=f"{c.meaning} 肺炎 ñ")
        for c in model.classes
    )
    instance = read("Contraste débil: añadido.", SpecificCharacterSet=None)
    findings = dataclasses.replace(
        instance.findings, model=dataclasses.replace(model, classes=classes, manufacturer="Müller & Søn")
    )
    instance = dataclasses.replace(instance, findings=findings)
    for dataset in all_of(instance, stamp):
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert check(dataset) == ()
        assert dciodvfy(dataset, tmp_path) == []
        if dataset.Modality != "OT":  # the heatmap has the name in its pixels
            assert "肺炎" in str(read_back(dataset).to_json_dict())


def test_no_identity_outside_the_patients_own_attributes(read, stamp):
    """The same image of another patient differs in nothing but the patient's own attributes."""
    identity = {
        "PatientName": "Other^Person",
        "PatientID": "ID-OTHER",
        "PatientBirthDate": "19010101",
        "AccessionNumber": "ACC-OTHER",
    }
    first, other = read(), read(**identity)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        other.header[keyword].value = first.header[keyword].value
    for made, foreign in zip(all_of(first, stamp), all_of(other, stamp), strict=True):
        assert {e.keyword for e in made if e != foreign[e.tag]} == set(identity)


FAULTS = [
    (SEG, "delete", "SegmentSequence", None, "SegmentSequence is missing"),
    (SEG, "set", "Rows", 5, "size"),
    (SEG, "set", "MaximumFractionalValue", 1, "MaximumFractionalValue is not 255"),
    (SEG, "set", "SeriesDescription", "Map", "series description lacks the disclaimer"),
    (SEG, "delete", "ContentTime", None, "ContentTime is missing"),
    (PR, "delete", "DisplayedAreaSelectionSequence", None, "DisplayedAreaSelectionSequence is missing"),
    (PR, "set", "PresentationLUTShape", "OTHER", "neither IDENTITY nor INVERSE"),
    (PR, "delete", "GraphicAnnotationSequence", None, "lack the disclaimer"),
    (PR, "set", "ReferencedSeriesSequence", [], "does not list"),
    (KO, "delete", "CurrentRequestedProcedureEvidenceSequence", None, "evidence does not list"),
    (KO, "set", "StudyInstanceUID", UID("1.2.3"), "another study"),
    (KO, "delete", "ContentTemplateSequence", None, "ContentTemplateSequence is missing"),
    (TX, "set", "VerificationFlag", "VERIFIED", "verified or final"),
    (TX, "delete", "CurrentRequestedProcedureEvidenceSequence", None, "evidence does not list"),
]


@pytest.mark.parametrize(("which", "action", "keyword", "value", "problem"), FAULTS)
def test_check_finds_a_planted_fault(read, stamp, which, action, keyword, value, problem):
    made = all_of(read(), stamp)[which]
    plant(made, action, keyword, value)
    assert any(problem in found for found in check(made))


def test_check_misses_no_disclaimer_in_words(read, stamp):
    made = all_of(read(), stamp)
    made[SEG].SegmentSequence[0].SegmentDescription = "Map"
    made[PR].GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue = "Map"
    assert "the segment's description lacks the disclaimer" in check(made[SEG])
    assert "the words over the picture lack the disclaimer" in check(made[PR])
