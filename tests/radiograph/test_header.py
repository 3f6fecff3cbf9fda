"""Header facts from whole, missing and malformed elements."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import SelectionPolicy, decide, read_header, read_radiograph


def rewritten(dataset, old, new):
    """`dataset` with bytes of its file exchanged for as many others."""
    assert len(old) == len(new)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert old in buffer.getvalue()
    return dcmread(io.BytesIO(buffer.getvalue().replace(old, new)))


def code(value, keyword="CodeValue"):
    item = Dataset()
    setattr(item, keyword, value)
    return item


def test_the_facts_of_a_whole_header():
    facts = read_header(make_radiograph(bits=10, ImageType=["DERIVED", "PRIMARY"], InstanceNumber=7))
    assert facts.sop_class_uid == "1.2.840.10008.5.1.4.1.1.1.1"
    assert facts.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert facts.study_instance_uid.startswith("2.25.")
    assert facts.modality == "DX"
    assert facts.image_type == ("DERIVED", "PRIMARY")
    assert facts.instance_number == 7
    assert facts.age_years == 56
    assert facts.has_patient_id
    assert facts.patient_orientation == ("L", "F")
    assert facts.anatomic_regions == ("816094009",)
    assert facts.manufacturer == "Example Imaging"
    assert facts.descriptions == (("StudyDescription", "Chest PA"),)
    assert (facts.image.rows, facts.image.columns) == (512, 448)
    assert facts.image.bits_stored == 10
    assert facts.image.bits_problem is None


def test_an_empty_dataset_has_facts():
    facts = read_header(Dataset())
    assert facts.sop_class_uid is None
    assert facts.transfer_syntax_uid is None
    assert facts.age_years is None
    assert not facts.has_patient_id
    assert not facts.image.has_pixel_data
    assert facts.image.rows is None


def test_no_identity_in_the_facts():
    dataset = make_radiograph(PatientName="Sensitive^Name", PatientID="S-77", AccessionNumber="S-88")
    assert "S-" not in repr(read_header(dataset))
    assert "Sensitive" not in repr(read_header(dataset))


@pytest.mark.parametrize(
    ("age", "years"),
    [("056Y", 56), ("006M", 0.5), ("073D", 0.2), ("010W", 10 / 52.18), ("62", 62), ("old", None)],
)
def test_age(age, years):
    found = read_header(make_radiograph(PatientAge=age, PatientBirthDate=None)).age_years
    assert found == (None if years is None else pytest.approx(years, rel=1e-2))


@pytest.mark.parametrize(
    ("born", "years"), [("20160102", 10.0), ("20270101", None), ("", None), ("1970", None)]
)
def test_age_from_dates(born, years):
    facts = read_header(make_radiograph(PatientAge=None, PatientBirthDate=born, StudyDate="20260102"))
    assert facts.age_years == (None if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(
    ("born", "studied", "completed"),
    [
        ("20080102", "20260101", 17),
        ("20080102", "20260102", 18),
        ("20080102", "20260103", 18),
        ("20080229", "20260228", 17),
        ("20080229", "20260301", 18),
        ("20080229", "20240229", 16),
        ("20260101", "20260101", 0),
        ("20250301", "20260228", 0),
    ],
)
def test_a_birthday_completes_a_year(born, studied, completed):
    facts = read_header(make_radiograph(PatientAge=None, PatientBirthDate=born, StudyDate=studied))
    assert int(facts.age_years) == completed
    assert facts.age_years - completed < 1


def test_values_of_the_wrong_kind_are_absent():
    dataset = make_radiograph(InstanceNumber="12")
    dataset = rewritten(dataset, b"IS\x02\x0012", b"IS\x02\x00ab")
    assert read_header(dataset).instance_number is None


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")  # pydicom, while reading the file
@pytest.mark.parametrize("charset", [b"ISO_IR 999", b"NONSENSE!!", b"ISO_IR 138"])
def test_a_character_set_that_does_not_decode(charset):
    dataset = make_radiograph(SeriesDescription="Tórax PA", PatientName="Ü^Ö")
    facts = read_header(rewritten(dataset, b"ISO_IR 192", charset))
    assert facts.has_patient_id
    assert ("SeriesDescription", "Tórax PA") in facts.descriptions


def test_text_in_latin_1():
    dataset = make_radiograph(SeriesDescription="TÓRAX PA", SpecificCharacterSet="ISO_IR 100")
    assert ("SeriesDescription", "TÓRAX PA") in read_header(dataset).descriptions


def test_codes_short_long_and_urn():
    dataset = make_radiograph(
        ViewCodeSequence=[code("R-10206"), code("272479007", "LongCodeValue"), code("urn:x", "URNCodeValue")],
        PatientSpeciesDescription="Homo sapiens",
    )
    facts = read_header(dataset)
    assert facts.view_codes == ("R-10206", "272479007", "urn:x")
    assert facts.species == ("HOMO", "SAPIENS")


def test_an_element_that_pydicom_cannot_convert_is_absent():
    dataset = make_radiograph(Rows=300)
    dataset = rewritten(dataset, b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00FD\x02\x00")
    assert read_header(dataset).image.rows is None


def test_a_sequence_that_is_none():
    dataset = make_radiograph()
    dataset.add_new("ViewCodeSequence", "LO", "not a sequence")
    assert read_header(dataset).view_codes == ()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_flipped_bytes_in_the_header(syntax):
    whole = io.BytesIO()
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 8], bytes(range(256))
    make_radiograph(
        bits=8,
        picture=synthetic_chest(130, 130, 0),
        transfer_syntax=syntax,
        PixelPaddingValue=0,
        VOILUTSequence=[table],
        ShutterShape="CIRCULAR",
        CenterOfCircularShutter=[60, 60],
        RadiusOfCircularShutter=60,
    ).save_as(whole)
    random = np.random.default_rng(4)
    rendered = 0
    for _ in range(400):
        flipped = bytearray(whole.getvalue())
        for place in random.integers(132, len(flipped) - 130 * 130 - 8, 3):
            flipped[place] = random.integers(0, 256)
        try:
            dataset = dcmread(io.BytesIO(flipped))
        except Exception:  # noqa: BLE001, S112
            continue  # pydicom's part: no dataset, nothing to read
        assert decide(read_header(dataset), SelectionPolicy()).reason
        with contextlib.suppress(UnreadablePixels):
            pixels = read_radiograph(dataset).pixels
            assert pixels.min() >= 0
            assert pixels.max() <= 1
            rendered += 1
    assert rendered > 100


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"BitsAllocated": 32}, "Allocated"),
        ({"BitsStored": 17, "HighBit": 16}, "Stored"),
        ({"BitsStored": 7, "HighBit": 6}, "Stored"),
        ({"BitsStored": None}, "Stored"),
        ({"HighBit": 15}, "High Bit"),
        ({"PixelRepresentation": 2}, "Representation"),
    ],
)
def test_wrong_bits(tags, word):
    assert word in read_header(make_radiograph(**tags)).image.bits_problem
