"""What is taken over from odd headers, and what is left out."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.sr.coding import Code
from pydicom.tag import Tag

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence.attributes import character_set, is_decodable, number, required_uid, single, values
from cxr_pacs.evidence.source import (
    ReadInstance,
    image_reference,
    patient_and_study,
    referenced_requests,
    references,
    reported_procedures,
    request_of,
    timezone,
)


def raw(**elements):
    """A header whose elements are bytes, as they are after reading a file."""
    header = Dataset()
    for keyword, (vr, value) in elements.items():
        tag = Tag(tag_for_keyword(keyword))
        header[tag] = RawDataElement(tag, vr, len(value or b""), value, 0, False, True)
    return header


def header(**elements):
    dataset = Dataset()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.1"
    dataset.update(raw(**elements))
    return dataset


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "kept"),
    [
        ("PatientBirthDate", "DA", b"19700131", "19700131"),
        ("PatientBirthDate", "DA", b"1970.01.31", "19700131"),
        ("PatientBirthDate", "DA", b"19700231", ""),
        ("PatientBirthDate", "DA", b"unknown ", ""),
        ("PatientBirthDate", "DA", None, ""),
        ("StudyTime", "TM", b"101500.123", "101500.123"),
        ("StudyTime", "TM", b"10:15:00", "101500"),
        ("StudyTime", "TM", b"251500", ""),
        ("PatientSex", "CS", b"F ", "F"),
        ("PatientSex", "CS", b"MALE", ""),
        ("PatientAge", "AS", b"056Y", "056Y"),
        ("PatientAge", "AS", b"56 years", ""),
        ("PatientID", "LO", b"A\0", "A"),
        ("PatientID", "LO", b"A\\B ", "A"),
        ("PatientID", "LO", b"9" * 80, "9" * 80),
        ("StudyDescription", "LO", b"d" * 80, "d" * 64),
        ("PatientName", "PN", b"Doe^J\x07ane", "Doe^Jane"),
    ],
)
def test_a_value_is_kept_only_in_the_form_its_vr_allows(keyword, vr, value, kept):
    assert single(raw(**{keyword: (vr, value)}), keyword) == kept


def test_converted_elements_read_as_raw_ones():
    dataset = Dataset()
    dataset.PatientName = "Doe^Jane"
    dataset.PatientOrientation = ["L", "F"]
    dataset.StudyDescription = None
    dataset.RequestAttributesSequence = [Dataset()]
    assert single(dataset, "PatientName") == "Doe^Jane"
    assert values(dataset, "PatientOrientation") == ["L", "F"]
    assert values(dataset, "StudyDescription") == []
    assert values(raw(PatientOrientation=("CS", b"L\\F ")), "PatientOrientation") == ["L", "F"]


@pytest.mark.parametrize(
    ("declared", "encoded", "decoded"),
    [
        (b"ISO_IR 100", "Müller^Zoë".encode("latin-1"), "Müller^Zoë"),
        (b"ISO_IR 192", "山田^太郎".encode(), "山田^太郎"),
        (b"ISO_IR 144", "Люксембург".encode("iso8859_5"), "Люксембург"),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"ISO_IR 192", b"M\xfcller", "M?ller"),
        (b"ISO_IR 999", b"M\xfcller", "M?ller"),
        (None, b"M\xfcller", "M?ller"),
    ],
)
def test_names_are_decoded_as_declared_and_never_guessed(declared, encoded, decoded):
    dataset = raw(SpecificCharacterSet=("CS", declared), PatientName=("PN", encoded))
    assert single(dataset, "PatientName") == decoded


@pytest.mark.parametrize(
    ("declared", "text", "chosen"),
    [
        (["ISO_IR 100"], "plain", []),
        (["ISO_IR 100"], "Müller", ["ISO_IR 100"]),
        (["ISO_IR 100"], "山田", ["ISO_IR 192"]),
        (["", "ISO 2022 IR 87"], "山田", ["", "ISO 2022 IR 87"]),
        (["ISO_IR 999"], "Müller", ["ISO_IR 192"]),
        ([], "Müller", ["ISO_IR 192"]),
    ],
)
def test_the_smallest_character_set_is_declared(declared, text, chosen):
    dataset = raw(SpecificCharacterSet=("CS", "\\".join(declared).encode()))
    assert character_set(dataset, ["x", text]) == chosen


def test_a_header_with_nothing_in_it_gives_the_type_2_attributes_empty():
    module = patient_and_study(header())
    assert {element.keyword for element in module if element.is_empty} == {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "StudyID",
        "AccessionNumber",
    }


def test_the_source_is_never_changed():
    source = header(PatientSex=("CS", b"MALE"), PatientBirthDate=("DA", b"unknown"))
    before = copy.deepcopy(source)
    patient_and_study(source)
    assert source == before


@pytest.mark.parametrize("uid", ["", "1", "1.2.x", "1..2", "../1.2", "1." + "2" * 64])
def test_an_unusable_uid_is_refused_without_quoting_it(uid):
    with pytest.raises(EvidenceError, match="no usable StudyInstanceUID"):
        required_uid(raw(StudyInstanceUID=("UI", uid.encode())), "StudyInstanceUID")


@pytest.mark.parametrize(
    ("offset", "zone"),
    [
        (b"+0530", dt.timezone(dt.timedelta(hours=5, minutes=30))),
        (b"-0300", dt.timezone(-dt.timedelta(hours=3))),
        (b"0530", None),
        (b"", None),
    ],
)
def test_the_offset_of_the_source_governs_its_study(offset, zone):
    assert timezone(raw(TimezoneOffsetFromUTC=("SH", offset))) == zone


TEXTS = {
    "PatientName": "PN",
    "PatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "StudyTime": "TM",
}


_IDENTITY = ("PatientName", "PatientID", "AccessionNumber")


def _refusal(keyword):
    """All that may be said of an undecodable `keyword`: nothing of its value."""
    return f"{keyword} cannot be decoded with its Specific Character Set: results could not be filed safely"


@pytest.mark.parametrize(
    ("declared", "encoded", "decodable"),
    [
        (b"ISO_IR 192", b"Doe^Jane", True),
        (b"ISO_IR 192", "山田^太郎".encode(), True),
        (b"ISO_IR 192", b"M\xfcller", False),
        (b"ISO_IR 100", b"M\xfcller", True),
        (b"ISO_IR 999", b"M\xfcller", False),
        (b"ISO_IR 999", b"Mueller", True),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B", True),
        (None, b"M\xfcller", False),
        (None, b"Why?", True),
        (None, None, True),
    ],
)
@pytest.mark.parametrize("keyword", _IDENTITY)
def test_an_identity_is_taken_over_only_when_it_can_be_decoded(keyword, declared, encoded, decodable):
    source = header(SpecificCharacterSet=("CS", declared), **{keyword: ("LO", encoded)})
    assert is_decodable(source, keyword) is decodable
    if decodable:
        assert patient_and_study(source)[keyword].value == single(source, keyword)
    else:
        with pytest.raises(EvidenceError) as refused:
            patient_and_study(source)
        assert str(refused.value) == _refusal(keyword)


def test_an_identity_that_is_missing_or_was_decoded_before_is_judged_too():
    source = header()
    assert is_decodable(source, "PatientName")
    source.PatientName = "M\ufffdller"
    assert not is_decodable(source, "PatientName")


@given(
    st.dictionaries(st.sampled_from(sorted(TEXTS)), st.binary(max_size=70)),
    st.sampled_from(
        [b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13", b"GB18030", b"nonsense", b"ISO_IR 192\\x"]
    ),
)
def test_any_bytes_make_a_module_that_can_be_written(elements, declared):
    source = header(
        SpecificCharacterSet=("CS", declared),
        **{keyword: (TEXTS[keyword], v) for keyword, v in elements.items()},
    )
    if unreadable := [keyword for keyword in _IDENTITY if not is_decodable(source, keyword)]:
        with pytest.raises(EvidenceError) as refused:
            patient_and_study(source)
        assert str(refused.value) == _refusal(unreadable[0])
        return
    module = patient_and_study(source)
    module.SpecificCharacterSet = character_set(source, (str(element.value) for element in module))
    buffer = io.BytesIO()
    dcmwrite(buffer, module, implicit_vr=False, little_endian=True)
    again = dcmread(io.BytesIO(buffer.getvalue()), force=True)
    for keyword in elements:
        assert single(again, keyword) == single(source, keyword)


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.5])
def test_a_score_that_is_no_share_is_refused(findings, score):
    odd = dataclasses.replace(findings.scores[0], score=score)
    with pytest.raises(EvidenceError, match="binary/covid19"):
        ReadInstance(header=header(), findings=dataclasses.replace(findings, scores=(odd,)))


def coded(value, meaning="Chest X-ray", scheme="99LOCAL"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_requests_are_carried_over_with_their_codes_and_the_accession_number():
    source = header(AccessionNumber=("SH", b"A1"))
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "Chest"
    request.RequestedProcedureCodeSequence = [coded("C1"), coded("", "no value")]
    source.RequestAttributesSequence = [request]
    (item,) = referenced_requests(source)
    assert (item.StudyInstanceUID, item.AccessionNumber, item.RequestedProcedureID) == ("1.2.3", "A1", "RP1")
    assert [code.CodeValue for code in item.RequestedProcedureCodeSequence] == ["C1"]
    assert item.ReferencedStudySequence == []
    assert reported_procedures(source) == [Code("C1", "99LOCAL", "Chest X-ray")]


def test_the_performed_procedure_comes_before_the_requested_one():
    source = header()
    source.ProcedureCodeSequence = [coded("P1"), coded("P1")]
    assert reported_procedures(source) == [Code("P1", "99LOCAL", "Chest X-ray")]
    assert referenced_requests(source) == []


def test_whole_procedure_codes_are_those_of_the_study():
    source = header()
    source.ProcedureCodeSequence = [
        coded("P1"),
        coded("P2", "Chest", ""),
        coded("P2", ""),
        coded("P3", "Lung"),
    ]
    expected = [coded("P1"), coded("P3", "Lung")]
    for dataset in (source.ProcedureCodeSequence[3], expected[1]):
        dataset.CodingSchemeVersion = "2"
    source.ProcedureCodeSequence[0].PatientName = "Doe^Jane"
    assert patient_and_study(source).ProcedureCodeSequence == expected
    source.ProcedureCodeSequence = [coded("", "no value")]
    assert "ProcedureCodeSequence" not in patient_and_study(source)


def test_damaged_elements_count_as_missing():
    assert number(header(Rows=("US", b"\1\2\3")), "Rows") is None
    assert character_set(header(SpecificCharacterSet=("US", b"\1\2\3")), ["é"]) == ["ISO_IR 192"]
    assert referenced_requests(header(RequestAttributesSequence=("SQ", b"\xff\xff"))) == []
    assert single(header(PatientID=("SQ", b"\xff\xff")), "PatientID") == "??"


def test_references_are_grouped_by_study_and_series_and_sorted():
    second = header()
    second.SOPInstanceUID = "1.2.3.1.0"
    other = header()
    other.SeriesInstanceUID, other.SOPInstanceUID = "1.2.3.0", "1.2.3.0.1"
    (study,) = references([header(), second, other])
    assert [series.SeriesInstanceUID for series in study.ReferencedSeriesSequence] == ["1.2.3.0", "1.2.3.1"]
    uids = [i.ReferencedSOPInstanceUID for i in study.ReferencedSeriesSequence[1].ReferencedSOPSequence]
    assert uids == ["1.2.3.1.0", "1.2.3.1.1"]
    assert image_reference(other).ReferencedSOPInstanceUID == "1.2.3.0.1"


def ordered(accession="A1"):
    order = Dataset()
    order.AccessionNumber, order.RequestedProcedureID = accession, "RP1"
    order.PlacerOrderNumberImagingServiceRequest = "PL1"
    order.FillerOrderNumberImagingServiceRequest = "FI1"
    order.RequestedProcedureDescription = "Thorax"
    order.RequestedProcedureCodeSequence = [coded("C1"), coded("", "no value")]
    order.PatientName = "Doe^Jane"
    return request_of(order)


def test_an_order_says_what_the_image_does_not():
    (item,) = referenced_requests(header(AccessionNumber=("SH", b"A1")), [ordered()])
    assert (item.StudyInstanceUID, item.AccessionNumber, item.RequestedProcedureID) == ("1.2.3", "A1", "RP1")
    assert item.PlacerOrderNumberImagingServiceRequest == "PL1"
    assert item.FillerOrderNumberImagingServiceRequest == "FI1"
    assert [code.CodeValue for code in item.RequestedProcedureCodeSequence] == ["C1"]
    assert "PatientName" not in item


def test_the_image_keeps_its_own_words():
    source = header(AccessionNumber=("SH", b"A1"))
    request = Dataset()
    request.RequestedProcedureDescription = "Chest"
    source.RequestAttributesSequence = [request]
    (item,) = referenced_requests(source, [ordered("")])
    assert (item.AccessionNumber, item.RequestedProcedureDescription) == ("A1", "Chest")
    assert item.RequestedProcedureID == "RP1"


def test_an_order_of_another_request_is_a_request_of_its_own():
    source = header(AccessionNumber=("SH", b"A1"))
    request = Dataset()
    request.RequestedProcedureID = "RP2"
    source.RequestAttributesSequence = [request]
    first, second = referenced_requests(source, [ordered()])
    assert (first.RequestedProcedureID, first.PlacerOrderNumberImagingServiceRequest) == ("RP2", "")
    assert (second.RequestedProcedureID, second.PlacerOrderNumberImagingServiceRequest) == ("RP1", "PL1")


def test_an_identifier_that_is_too_long_stays_whole():
    (item,) = referenced_requests(header(), [request_of(header(AccessionNumber=("SH", b"A" * 20)))])
    assert item.AccessionNumber == "A" * 20
