"""What an order's fields become, and what of a message cannot be read."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
from hl7_orders import omi, orm

from cxr_pacs.errors import RefusedMessage
from cxr_pacs.hl7v2 import DEFAULT_FIELDS, Message, orders_of
from cxr_pacs.settings import parse_settings

_DEFAULT = Path(__file__).resolve().parents[2] / "config" / "default.toml"


def _orders(content, **fields):
    return orders_of(Message.parse(content, "ASCII"), {**DEFAULT_FIELDS, **fields})


def test_an_orm_is_mapped_as_ihe_says():
    (order,) = _orders(orm("1", study="1.2.3"))
    assert (order.control, order.status) == ("NW", "SC")
    assert order.values == {
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientBirthDate": "19600131",
        "PatientSex": "F",
        "ReferringPhysicianName": "Referrer^Ada^^Dr",
        "AdmissionID": "V1",
        "CurrentPatientLocation": "WARD7",
        "AccessionNumber": "A1",
        "PlacerOrderNumberImagingServiceRequest": "PL1",
        "FillerOrderNumberImagingServiceRequest": "FL1",
        "RequestingPhysician": "Orderer^Olga",
        "StudyInstanceUID": "1.2.3",
        "RequestedProcedureID": "R1",
        "RequestedProcedureDescription": "Chest PA",
        "RequestedProcedureCodeSequence.CodeValue": "CXR2",
        "RequestedProcedureCodeSequence.CodeMeaning": "Chest PA",
        "RequestedProcedureCodeSequence.CodingSchemeDesignator": "99RIS",
        "RequestedProcedurePriority": "STAT",
        "ReasonForTheRequestedProcedure": "Cough",
        "ScheduledStationAETitle": "DX1",
        "ScheduledProcedureStepStartDate": "20261124",
        "ScheduledProcedureStepStartTime": "093000",
        "Modality": "DX",
        "ScheduledProcedureStepID": "S1",
        "ScheduledProcedureStepDescription": "Chest digital",
        "ScheduledProtocolCodeSequence.CodeValue": "DXC",
        "ScheduledProtocolCodeSequence.CodeMeaning": "Chest digital",
        "ScheduledProtocolCodeSequence.CodingSchemeDesignator": "99RIS",
    }


def test_an_omi_has_a_step_for_each_ipc():
    first, second = _orders(omi("1", steps=("1", "2")))
    assert first.values["ScheduledProcedureStepID"] == "S1-1"
    assert second.values == first.values | {"ScheduledProcedureStepID": "S1-2"}
    wanted = {
        "AccessionNumber": "A1",
        "RequestedProcedureID": "R1",
        "StudyInstanceUID": "1.2.3.4",
        "Modality": "CR",
        "ScheduledStationAETitle": "CR1",
        "ScheduledStationName": "ROOM7",
        "ScheduledProcedureStepStartTime": "101500",
        "RequestedProcedurePriority": "ROUTINE",
        "PatientSex": "M",
    }
    assert first.values.items() >= wanted.items()


def test_one_orc_may_stand_before_several_obr():
    single = orm("1")
    obr = single[single.index(b"OBR") :]
    first, second = _orders(single + obr.replace(b"S1", b"S2") + b"ZDS|1.2.9\r")
    assert (first.values["ScheduledProcedureStepID"], second.values["ScheduledProcedureStepID"]) == (
        "S1",
        "S2",
    )
    assert {first.values["StudyInstanceUID"], second.values["StudyInstanceUID"]} == {"1.2.9"}
    assert second.control == "NW"


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("Müller^Jürgen^Karl^III^Dr", "Müller^Jürgen^Karl^Dr^III"),
        (
            "Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        ("von Braun&von&Braun^Eva", "von Braun^Eva"),
        ("O\\T\\Neill^Sean", "O&Neill^Sean"),
        ("M\\XC3BC\\ller^Eva", "Müller^Eva"),
        ("Doe\\H\\^Jane", "Doe^Jane"),
    ],
)
def test_a_name_becomes_a_person_name(field, wanted):
    (order,) = _orders(orm("1", name=field))
    assert order.values["PatientName"] == wanted


@pytest.mark.parametrize(
    ("character_set", "encoding", "name"),
    [
        ("ASCII", "ascii", "Doe^Jane"),
        ("", "ascii", "Doe^Jane"),
        ("8859/1", "latin-1", "Müller^Jürgen"),
        ("8859/5", "iso8859-5", "Люксембург^Роза"),
        ("UNICODE UTF-8", "utf-8", "Ångström^Åsa"),
        ("~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("ISO IR14~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("KS X 1001", "euc_kr", "洪^吉洞"),
        ("GB 18030-2000", "gb18030", "王^小东"),
        ("BIG-5", "big5", "許^功蓋"),  # the second byte of some of these is a backslash
    ],
)
def test_a_message_is_read_in_its_character_set(character_set, encoding, name):
    (order,) = _orders(orm("1", name=name, character_set=character_set, encoding=encoding))
    assert order.values["PatientName"] == name


@pytest.mark.parametrize(
    ("content", "answer", "code", "place"),
    [
        (b"", "AR", 100, "MSH^1^1"),
        (b"PID|1||P1", "AR", 100, "MSH^1^1"),
        (b"MSH|^^^^|RIS", "AR", 100, "MSH^1^1"),
        (b"MSH|^~\\&", "AR", 100, "MSH^1^1"),
        (orm("1", character_set="UNICODE UTF-16"), "AR", 103, "MSH^1^18"),
        (orm("1", character_set="8859/1~8859/5"), "AR", 103, "MSH^1^18"),
        (orm("1", name="Müller^Eva", encoding="latin-1"), "AR", 102, "MSH^1^18"),
        (orm("1").replace(b"\rOBR|", b"\robr|"), "AE", 100, ""),
        (orm("1")[: orm("1").index(b"ORC")], "AE", 100, "ORC^1"),
        (orm("1", start="yesterday"), "AE", 102, "ORC^1^7"),
        (orm("1", start="20261324"), "AE", 102, "ORC^1^7"),
        (orm("1").replace(b"|A1|", b"|A\\E\\1|"), "AE", 102, "OBR^1^18"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_field(content, answer, code, place):
    with pytest.raises(RefusedMessage) as refused:
        _orders(content)
    assert (refused.value.answer, refused.value.code, refused.value.place) == (answer, code, place)
    for word in ("Doe", "Müller", "yesterday", "P1"):
        assert word not in str(refused.value)


def test_what_only_describes_is_cut_and_a_code_that_does_not_fit_left_out():
    long = orm("1").replace(b"CXR2^Chest PA^", b"A-CODE-OF-17-CHARS^" + b"x" * 65 + b"^")
    (order,) = _orders(long)
    assert order.values["RequestedProcedureDescription"] == "x" * 64
    assert not [path for path in order.values if path.startswith("RequestedProcedureCodeSequence")]


def test_empty_lines_and_lines_of_a_file_are_no_fault():
    (order,) = _orders(orm("1").replace(b"\r", b"\r\n\r\n"))
    assert order.values == _orders(orm("1"))[0].values


def test_a_start_has_a_zone_or_no_time():
    (order,) = _orders(orm("1", start="20261124"))
    assert order.values["ScheduledProcedureStepStartTime"] == "000000"
    assert order.values["ScheduledProcedureStepStartDate"] == "20261124"


@pytest.mark.parametrize(
    ("zone", "start", "local"),
    [
        ("Asia/Tokyo", "202611240930+0000", "20261124 183000"),
        ("Asia/Tokyo", "202611242030+0000", "20261125 053000"),
        ("America/New_York", "202611240130+0000", "20261123 203000"),
        ("America/New_York", "202607240930+0200", "20260724 033000"),
        ("Asia/Tokyo", "202611240930", "20261124 0930"),
    ],
)
def test_a_start_with_a_zone_is_told_in_local_time(monkeypatch, zone, start, local):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        (order,) = _orders(orm("1", start=start))
    time.tzset()
    date, at = (order.values[f"ScheduledProcedureStepStart{what}"] for what in ("Date", "Time"))
    assert f"{date} {at}" == local


@pytest.mark.parametrize("known", [b"1960", b"196001", b"1960+0100"])
def test_of_a_birth_date_a_part_is_none(known):
    (order,) = _orders(orm("1").replace(b"|19600131|", b"|" + known + b"|"))
    assert "PatientBirthDate" not in order.values
    assert order.values["PatientSex"] == "F"


def test_the_settings_say_where_an_attribute_is():
    settings = parse_settings('[hl7]\nfields = { AccessionNumber = ["ORC-3.1"] }\n', "site.toml").hl7
    (order,) = _orders(orm("1"), **settings.fields)
    assert order.values["AccessionNumber"] == "FL1"


def test_the_default_mapping_is_told_in_the_settings_file():
    text = _DEFAULT.read_text(encoding="utf-8")
    assert tomllib.loads(text)["hl7"]["fields"] == {}
    for path, fields in DEFAULT_FIELDS.items():
        assert f"#   {path}: {', '.join(fields)}\n" in text
