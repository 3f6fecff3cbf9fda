"""pixelmed's validator over every structured report: IOD, templates, value types, codes, relationships."""

from __future__ import annotations

import pytest
from bright_engine import BrightEngine, claim
from gateway_objects import made_of
from peers import pixelmed
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage
from radiographs import make_radiograph, synthetic_chest

# Errors that are not ours, word for word but for the place of an item among its siblings, and why.
TOLERATED = (
    # CID 100 is a baseline group, which an application may extend (PS3.16 6.2). This edition of it, of 2019,
    # has no code for radiography at all.
    (
        "Error: Template 1500 MeasurementReport/[Row 1] CONTAINER CID 7021/[Row 4] "
        'CODE (121058,DCM,"Procedure reported"): {place}: '
        '/CONTAINER (126000,DCM,"Imaging Measurement Report")/CODE (121058,DCM,"Procedure reported"): '
        'Code (399208008,SCT,"Plain chest X-ray") not found in context group 100'
    ),
    # PS3.3 C.17.3 lets a reference be named (260753009, SCT, "Source") where a template asks for no purpose:
    # some readers cannot do with an item that has no name.
    *(
        "Error: Template 2010 KeyObjectSelection/[Row 1] CONTAINER CID 7010_WithTCE: "
        '/CONTAINER (113000,DCM,"Of Interest"): '
        f"Row {row} Purpose of Reference (Concept) is forbidden for {value_type} content item"
        for row, value_type in ((8, "IMAGE"), (10, "COMPOSITE"))
    ),
)
KNOWN = {
    Comprehensive3DSRStorage: ("Comprehensive3DSR", "TID_1500 (MeasurementReport)"),
    KeyObjectSelectionDocumentStorage: ("KeyObjectSelectionDocument", "TID_2010 (KeyObjectSelection)"),
    BasicTextSRStorage: ("BasicTextSR", "TID_2000 (BasicDiagnosticImagingReport)"),
}


class OneClassOfAdults(BrightEngine):
    claims = (claim("multiclass", "covid19", 18, 120),)


def film(seed=0, **tags):
    return make_radiograph(picture=synthetic_chest(150, 130, seed), **tags)


def errors(path):
    """What pixelmed holds against a document whose IOD and template it knows."""
    document = dcmread(path)
    if document.SOPClassUID == BasicTextSRStorage:
        # Its edition of CID 7000 has the former code of the same title, without which it looks no further.
        document.ConceptNameCodeSequence[0].CodeValue = "18782-3"
        document.save_as(path)
    said = pixelmed(path)
    iod, template = KNOWN[document.SOPClassUID]
    assert f"Found {iod} IOD" in said
    assert f"Found Root Template {template}" in said
    assert said[-1] == "IOD validation complete"
    assert not any(line.startswith("Warning: 1:") for line in said), "the template was not recognised"
    return [
        line for line in said if not line.startswith(("Found", "Warning")) and "complete" not in line.lower()
    ]


def not_tolerated(path):
    known = {message.format(place=f"1.{place}") for message in TOLERATED for place in range(1, 12)}
    return [line for line in errors(path) if line not in known]


def of_modality(made, *modalities):
    return [path for path in made if dcmread(path, stop_before_pixels=True).Modality in modalities]


@pytest.mark.parametrize("language", ["en", "es"])
def test_no_error_in_any_document(tmp_path, language):
    made = made_of([film()], tmp_path / "study", evidence={"language": language})
    documents = of_modality(made, "SR", "KO")
    assert {dcmread(path).SOPClassUID for path in documents} == set(KNOWN)
    for path in documents:
        assert not_tolerated(path) == []


@pytest.mark.parametrize(
    ("age", "language", "pictures"),
    [
        pytest.param("056Y", "en", 2, id="some classes"),
        pytest.param("003Y", "es", 0, id="all classes, so that the report is alone"),
    ],
)
def test_no_error_where_classes_are_withheld(tmp_path, age, language, pictures):
    made = made_of(
        [film(PatientAge=age)],
        tmp_path / "study",
        engine=OneClassOfAdults(),
        evidence={"language": language},
    )
    assert len(of_modality(made, "OT")) == pictures
    assert not_tolerated(made[0]) == []


def test_no_error_in_the_successor_of_a_report(tmp_path):
    first = film(0)
    second = film(1, StudyInstanceUID=first.StudyInstanceUID, PatientOrientation=None)
    (earlier, *_) = made_of([first], tmp_path / "first")
    (later, *_) = made_of([first, second], tmp_path / "both", predecessors=[dcmread(earlier)])
    assert "PredecessorDocumentsSequence" in dcmread(later)
    assert not_tolerated(later) == []


def test_a_planted_fault_is_found(tmp_path):
    (path, *_) = made_of([film()], tmp_path / "study")
    document = dcmread(path)
    (language, *_) = document.ContentSequence
    language.RelationshipType = "CONTAINS"
    language.ConceptCodeSequence[0].CodeValue = "??"
    document.save_as(path)
    faults = not_tolerated(path)
    assert any("expected HAS CONCEPT MOD - found CONTAINS" in fault for fault in faults)
    assert any("not found in context group 5000" in fault for fault in faults)
