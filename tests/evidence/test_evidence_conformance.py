"""Every object passes our own check and dicom3tools', and `check` finds each planted fault."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ComputedRadiographyImageStorage, SecondaryCaptureImageStorage
from radiographs import synthetic_chest

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import ReadInstance, check

PIXELS = synthetic_chest(96, 80, 0)

HEADERS = {
    "digital radiograph": {},
    "computed radiograph": {"SOPClassUID": ComputedRadiographyImageStorage, "Modality": "CR"},
    "digitised film": {
        "SOPClassUID": SecondaryCaptureImageStorage,
        "Modality": "OT",
        "ConversionType": "DF",
        "PatientOrientation": None,
        "ImagerPixelSpacing": None,
    },
    "empty patient": {
        "PatientName": "",
        "PatientID": "",
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientAge": "",
    },
    "missing optional tags": dict.fromkeys(
        (
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "PatientAge",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDescription",
            "SeriesNumber",
            "InstanceNumber",
            "PatientOrientation",
            "ImagerPixelSpacing",
            "SpecificCharacterSet",
        )
    ),
    "Japanese name": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "Japanese name, half-width katakana": {
        "SpecificCharacterSet": ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "PatientName": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    },
    "Korean name": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 149"],
        "PatientName": "Hong^Gildong=洪^吉洞=홍^길동",
    },
    "Latin-1 name": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Buc^Jérôme"},
    "Greek name": {"SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος"},
    "UTF-8 name": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Люксембург^Zoë"},
    "time zone and requests": {"TimezoneOffsetFromUTC": "+0900"},
}


def requested():
    request = Dataset()
    request.RequestedProcedureID = "RP-7"
    request.RequestedProcedureDescription = "Chest, two views"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "36643-5", "LN", "XR Chest 2 Views"
    request.RequestedProcedureCodeSequence = [code]
    return request


@pytest.fixture(params=HEADERS, name="objects")
def objects_from_many_headers(request, read, both):
    tags = dict(HEADERS[request.param])
    if "TimezoneOffsetFromUTC" in tags:
        tags["RequestAttributesSequence"] = [requested()]
    return tags, both(read("The image is small.", **tags), PIXELS)


def test_no_error_for_any_source(objects, dciodvfy_errors, read_back):
    tags, made = objects
    for dataset in made:
        assert check(dataset) == ()
        assert dciodvfy_errors(dataset) == []
        if tags.get("PatientName"):
            assert str(read_back(dataset).PatientName) == tags["PatientName"]


def test_values_that_cannot_be_are_left_out(read, both, dciodvfy_errors):
    instance = read()
    header = instance.header
    for keyword, value in (
        ("PatientSex", b"UNKNOWN "),
        ("PatientBirthDate", b"00000000"),
        ("StudyDate", b"2026.99.99"),
        ("StudyTime", b"99"),
        ("PatientAge", b"56"),
        ("ReferringPhysicianName", b"M\xfcller^\xff\xfe"),
        ("StudyDescription", b"x" * 100),
        ("SpecificCharacterSet", b"ISO-8859-1"),
    ):
        _make_raw(header, keyword, value)
    made = both(ReadInstance(header=header, findings=instance.findings), PIXELS)
    for dataset in made:
        assert check(dataset) == ()
        assert dciodvfy_errors(dataset) == []
        assert dataset.ReferringPhysicianName == "M?ller^??"
        assert dataset.PatientSex == dataset.PatientBirthDate == dataset.StudyDate == ""


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber"])
def test_an_identity_that_cannot_be_decoded_makes_no_object(read, both, keyword):
    instance = read()
    _make_raw(instance.header, keyword, b"SECRET\xff\xfe")
    with pytest.raises(EvidenceError, match=rf"{keyword} cannot be decoded") as refused:
        both(instance, PIXELS)
    assert "SECRET" not in str(refused.value)


def test_identifiers_that_are_too_long_stay_whole(read, both, read_back):
    instance = read(RequestAttributesSequence=[Dataset()])
    for keyword, value in (("PatientID", b"9" * 80), ("AccessionNumber", b"A" * 20)):
        _make_raw(instance.header, keyword, value)
    for dataset in both(instance, PIXELS):
        assert check(dataset) == ()
        encoded = read_back(dataset)
        assert encoded.get_item("PatientID").value == b"9" * 80
        assert encoded.get_item("AccessionNumber").value == b"A" * 20


def _make_raw(header, keyword, value):
    tag = Tag(tag_for_keyword(keyword))
    header[tag] = RawDataElement(tag, dictionary_VR(keyword), len(value), value, 0, False, True)


def test_another_sop_class_is_not_ours(read):
    assert check(read().header) == ("the SOP Class is none that cxr-pacs makes",)
    assert check(Dataset()) == ("the SOP Class is none that cxr-pacs makes",)


COMMON_FAULTS = [
    ("delete", "StudyInstanceUID", None, "StudyInstanceUID is missing or empty"),
    ("delete", "PatientID", None, "PatientID is missing"),
    ("set", "SoftwareVersions", None, "SoftwareVersions is missing or empty"),
    ("set", "SeriesInstanceUID", UID("1.2." + "3" * 70, IGNORE), "SeriesInstanceUID is not a UID"),
    ("set", "SOPInstanceUID", UID("1.2.03", IGNORE), "SOPInstanceUID is not a UID"),
    ("set", "Manufacturer", "Somebody", "do not show that cxr-pacs made it"),
]
REPORT_FAULTS = [
    *COMMON_FAULTS,
    ("set", "VerificationFlag", "VERIFIED", "verified or final"),
    ("set", "PreliminaryFlag", "FINAL", "verified or final"),
    ("set", "SeriesDescription", "AI findings", "series description lacks the disclaimer"),
    ("delete", "PerformedProcedureCodeSequence", None, "PerformedProcedureCodeSequence is missing"),
    ("set", "StudyInstanceUID", "1.2.3", "another study"),
    ("delete", "CurrentRequestedProcedureEvidenceSequence", None, "evidence does not list"),
]
CAPTURE_FAULTS = [
    *COMMON_FAULTS,
    ("delete", "PatientOrientation", None, "PatientOrientation is missing"),
    ("delete", "ConversionType", None, "ConversionType is missing"),
    ("set", "PhotometricInterpretation", "MONOCHROME2", "PhotometricInterpretation is not RGB"),
    ("set", "BitsStored", 7, "BitsStored is not 8"),
    ("set", "Rows", 5, "size"),
    ("set", "BurnedInAnnotation", "YES", "free of identity"),
    ("set", "PixelSpacing", [1, 1], "spacing"),
    ("set", "DerivationDescription", "Map", "derivation description lacks the disclaimer"),
]


def plant(dataset, action, keyword, value):
    if action == "delete":
        delattr(dataset, keyword)
    elif keyword in dataset and isinstance(value, UID):
        dataset[keyword]._value = value  # past pydicom's own validation
    else:
        setattr(dataset, keyword, value)


@pytest.mark.parametrize(("action", "keyword", "value", "problem"), REPORT_FAULTS)
def test_check_finds_a_planted_fault_in_a_report(read, both, action, keyword, value, problem):
    _, document = both(read(), PIXELS)
    plant(document, action, keyword, value)
    assert any(problem in found for found in check(document))


@pytest.mark.parametrize(("action", "keyword", "value", "problem"), CAPTURE_FAULTS)
def test_check_finds_a_planted_fault_in_a_heatmap(read, both, action, keyword, value, problem):
    drawn, _ = both(read(), PIXELS)
    plant(drawn, action, keyword, value)
    assert any(problem in found for found in check(drawn))


def test_check_misses_no_disclaimer_in_the_tree(read, both):
    _, document = both(read(), PIXELS)
    document.ContentSequence.pop()
    assert check(document) == ("the content tree lacks the disclaimer", "the report concludes nothing")


def test_check_wants_a_device_uid(read, both):
    drawn, _ = both(read(), PIXELS)
    del drawn.ContributingEquipmentSequence[0].DeviceUID
    assert check(drawn) == ("the contributing equipment has no Device UID",)


def test_check_never_quotes_the_patient(read, both):
    drawn, _ = both(read(), PIXELS)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        drawn[keyword]._value = UID("Example^Patient", IGNORE)
    assert "Example" not in " ".join(check(drawn))
