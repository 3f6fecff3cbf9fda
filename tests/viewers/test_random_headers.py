"""dicom3tools over all that the gateway makes of headers as they come: many scripts, gaps, nonsense."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from gateway_objects import made_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peers import dcentvfy, dciodvfy
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from radiographs import make_radiograph, synthetic_chest

PICTURE = synthetic_chest(150, 130, 0)
PROFILE = settings(max_examples=20, deadline=None, derandomize=True, database=None)

# Complaints about one object that are not ours, and why.
TOLERATED = (
    # Its edition of the standard has no Device UID in Contributing Equipment Sequence (PS3.3 C.12.1).
    r"Warning - Attribute is not present in standard DICOM IOD - \(0x0018,0x1002\) UI Device UID ",
    r"Warning - Dicom dataset contains attributes not present in standard DICOM IOD - .*",
    # What the source does not tell of patient and study is left empty, as it may be: Type 2.
    r"Warning - Missing attribute or value that would be needed to build DICOMDIR - Study (Date|Time|ID)",
    # A name is the source's, letter for letter: one without ^ is old, not wrong.
    r"Warning - Value dubious for this VR - .* PN \[1\] = <.*> - Retired Person Name form",
)
# And about several together.
TOLERATED_TOGETHER = (
    # It takes Accession Number for one of the study in documents and for one of the series in pictures, where
    # Request Attributes Sequence has another: so even where a document and a picture hold nothing else.
    r"Warning - Different information entities for attribute - Element=<AccessionNumber> .*",
)


def of_one(made):
    """What dicom3tools holds against each object alone."""
    return [line for path in made for line in dciodvfy(path) if not _any(TOLERATED, line)]


def of_all(files, gaps=()):
    """What it holds against the files of one study together; `gaps` are missing in the source, or empty."""
    absent = (
        rf"Warning - Attribute present in one instance but not the other - Element=<({'|'.join(gaps)})> .*"
    )
    tolerated = (*TOLERATED_TOGETHER, absent)
    return [line for line in dcentvfy(files) if not _any(tolerated, line)]


def _any(patterns, line):
    return any(re.fullmatch(pattern, line) for pattern in patterns)


# -- in six character sets, with gaps --

LETTERS = {
    "Japanese": (["", "ISO 2022 IR 87"], "山田太郎鈴木一郎佐藤花子やまだたろう"),
    "half-width katakana": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞﾀﾛｳ山田太郎やまだ"),
    "Korean": (["", "ISO 2022 IR 149"], "홍길동김영희박洪吉洞"),
    "Greek": ("ISO_IR 126", "ΔιονυσιοςΑθηνά"),
    "Cyrillic": ("ISO_IR 144", "ЛюксембургИванЩё"),
    "accents": ("ISO_IR 100", "JérômeÅsaÑandúßø"),
    "any": ("ISO_IR 192", "山ﾀ홍ΔЛéŁșabc-'"),
}
GAPS = (
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
    "PixelSpacing",
)


@st.composite
def written(draw):
    """Tags of a radiograph whose names and texts are in one of the scripts, some missing and some empty."""
    character_set, letters = draw(st.sampled_from(sorted(LETTERS.values(), key=str)))
    text = st.text(letters, min_size=1, max_size=8)
    name = f"{draw(text)}^{draw(text)}"
    if isinstance(character_set, list):
        # dicom3tools counts each change of the set within a name: short ones, not to come to 64
        name = f"Name^Latin={name[:5]}"
    tags = {
        "SpecificCharacterSet": character_set,
        "PatientName": name,
        "ReferringPhysicianName": f"{draw(text)}^{draw(text)}",
        "StudyDescription": draw(text),
        "RequestAttributesSequence": [request(draw(text)) for _ in range(draw(st.integers(0, 2)))],
        "ProcedureCodeSequence": [code(draw(text)) for _ in range(draw(st.integers(0, 2)))],
    }
    gaps = draw(st.dictionaries(st.sampled_from(GAPS), st.sampled_from([None, ""]), max_size=6))
    return tags | gaps


def code(meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "36643-5", "LN", meaning
    return item


def request(text):
    item = Dataset()
    item.RequestedProcedureID = "RP-7"
    item.RequestedProcedureDescription = text
    item.RequestedProcedureCodeSequence = [code(text)]
    return item


@given(tags=written(), photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
@PROFILE
def test_no_complaint_in_any_script_and_with_gaps(tags, photometric):
    radiograph = make_radiograph(picture=PICTURE, photometric=photometric, **tags)
    with tempfile.TemporaryDirectory() as folder:
        made = made_of([radiograph], Path(folder, "study"))
        assert of_one(made) == []
        gaps = [keyword for keyword, value in tags.items() if not value]
        assert of_all([Path(folder, "study", "source-0.dcm"), *made], gaps) == []
        for path in made:
            assert str(dcmread(path).PatientName) == (tags["PatientName"] or "")


# -- nonsense --

IDENTITY = ("PatientName", "IssuerOfPatientID", "AccessionNumber", "StudyID")
OTHERS = (
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesNumber",
    "InstanceNumber",
    "PatientOrientation",
    "ImageLaterality",
    "ImagerPixelSpacing",
    "PixelSpacing",
    "PixelAspectRatio",
    "NominalScannedPixelSpacing",
    "TimezoneOffsetFromUTC",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "RequestAttributesSequence",
    "ReferencedRequestSequence",
    "ProcedureCodeSequence",
)
NONSENSE = st.one_of(
    st.sampled_from(
        ["", " ", "\\", "\\\\\\", "0", "-1\\-1", "1e400", "nan", "99999999", "20261399", "2026.1.2"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=16),
)


@given(
    identity=st.dictionaries(st.sampled_from(IDENTITY), NONSENSE, max_size=2),
    others=st.dictionaries(st.sampled_from(OTHERS), NONSENSE, max_size=8),
)
@PROFILE
def test_no_complaint_for_nonsense(identity, others):
    # Rows towards feet or head are no nonsense: such a picture lies on its side, and is held.
    assume(others.get("PatientOrientation", "").strip()[:1].upper() not in {"F", "H"})
    radiograph = make_radiograph(picture=PICTURE)
    for keyword, value in (identity | others).items():
        tag, vr = Tag(tag_for_keyword(keyword)), dictionary_VR(keyword)
        encoded = value.encode() + b" " * (len(value) % 2)
        if vr == "SQ":
            setattr(radiograph, keyword, [code(value), Dataset()])
        else:
            radiograph[tag] = RawDataElement(tag, vr, len(encoded), encoded, 0, False, True)
    with tempfile.TemporaryDirectory() as folder:
        made = made_of([radiograph], Path(folder, "study"))
        assert of_one(made) == []
        assert of_all(made) == []
