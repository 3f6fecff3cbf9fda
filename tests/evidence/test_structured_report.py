"""The report: content, honesty, references, and what DCMTK, dicom3tools and highdicom make of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import re

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import ReadInstance, check, is_own_output, report, request_of
from cxr_pacs.inference.findings import ClassScore, Findings, Withheld


def groups(document):
    measurements = next(
        item for item in document.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return measurements.ContentSequence


def texts(item):
    for child in item.get("ContentSequence", ()):
        if "TextValue" in child:
            yield child.TextValue
        yield from texts(child)


def named(item, value):
    return [c for c in item.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == value]


def test_each_class_of_each_head_is_a_group_with_certainty_and_verdict(read, findings, stamp):
    document = report([read()], [], (), stamp)
    found = []
    for group in groups(document):
        (finding,), (certainty,) = named(group, "121071"), named(group, "111012")
        (verdict,), (tracking,) = named(group, "278201002"), named(group, "112039")
        measured = certainty.MeasuredValueSequence[0]
        assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        found.append(
            (
                tracking.TextValue,
                finding.ConceptCodeSequence[0].CodeValue,
                float(measured.NumericValue),
                verdict.ConceptCodeSequence[0].CodeMeaning,
            )
        )
    assert found == [
        ("binary/covid19", "840539006", 93.0, "Positive"),
        ("binary/bacterial_pneumonia", "53084003", 7.0, "Negative"),
        ("multiclass/covid19", "840539006", 81.25, "Positive"),
        ("multiclass/bacterial_pneumonia", "53084003", 15.0, "Negative"),
        ("multiclass/normal", "17621005", 3.75, "Negative"),
    ]


def test_the_algorithm_is_named_with_all_that_decides_a_score(read, model, stamp):
    (group, *_) = groups(report([read()], [], (), stamp))
    assert [item.TextValue for item in named(group, "111001")] == [model.name]
    assert [item.TextValue for item in named(group, "111003")] == [model.version]
    assert [item.TextValue for item in named(group, "111002")] == [
        f"weights sha256:{model.digest}",
        f"preprocessing {model.preprocessing}",
        "head binary: assuming pneumonia: COVID-19 against bacterial pneumonia",
        "decision threshold 42.00 %: reached",
    ]
    (family,) = named(group, "111000")
    assert family.ConceptCodeSequence[0].CodeValue == "123110"
    (site,) = named(group, "363698007")
    assert site.ConceptCodeSequence[0].CodeValue == "39607008"


def test_the_document_is_complete_preliminary_unverified_and_says_what_it_is_not(read, model, stamp):
    document = report([read("The view is unknown.")], [], (), stamp)
    assert (document.CompletionFlag, document.PreliminaryFlag, document.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert "AI-derived, not a diagnosis" in document.SeriesDescription
    said = list(texts(document))
    assert "AI-derived, not a diagnosis. Research use only." in said
    assert (
        "Certainties of head binary answer: assuming pneumonia: COVID-19 against bacterial pneumonia." in said
    )
    assert "The view is unknown." in said


def test_equipment_and_observer_are_the_same_artefact(read, model, stamp):
    document = report([read()], [], (), stamp)
    (equipment,) = document.ContributingEquipmentSequence
    (observer,) = named(document, "121012")
    assert equipment.DeviceUID == observer.UID == model.device_uid
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (equipment.Manufacturer, equipment.ManufacturerModelName) == (model.manufacturer, model.name)
    assert document.SoftwareVersions == ["0.1.0", f"{model.name} {model.version}"]
    assert is_own_output(document)


def test_all_times_are_those_of_the_stamp_in_the_zone_of_the_study(read, stamp):
    document = report([read()], [], (), stamp)
    assert (document.ContentDate, document.ContentTime) == ("20260102", "102030.456789")
    assert "TimezoneOffsetFromUTC" not in document
    shifted = report([read(TimezoneOffsetFromUTC="-1100")], [], (), stamp)
    assert (shifted.ContentDate, shifted.ContentTime) == ("20260101", "232030.456789")
    assert shifted.TimezoneOffsetFromUTC == "-1100"
    (equipment,) = shifted.ContributingEquipmentSequence
    assert equipment.ContributionDateTime == "20260101232030.456789-1100"


def test_heatmaps_are_evidence_and_illustrate_their_class(read, both):
    drawn, document = both(read(), synthetic_chest(64, 64, 0))
    shown = [group for group in groups(document) if named(group, "121080")]
    assert [named(group, "112039")[0].TextValue for group in shown] == ["multiclass/covid19"]
    image = named(shown[0], "121080")[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == drawn.SOPInstanceUID
    assert image.ReferencedSOPClassUID == SecondaryCaptureImageStorage
    listed = hd.sr.Comprehensive3DSR.from_dataset(document).get_evidence()
    assert str(drawn.SOPInstanceUID) in {str(uids[2]) for uids in listed}
    assert len(listed) == 2


def test_a_source_image_is_referenced_from_every_group(read, stamp):
    instance = read()
    document = report([instance], [], (), stamp)
    for group in groups(document):
        (image,) = named(group, "121112")
        sop = image.ReferencedSOPSequence[0]
        assert sop.ReferencedSOPInstanceUID == instance.header.SOPInstanceUID
        assert sop.ReferencedSOPClassUID == instance.header.SOPClassUID


def test_a_later_report_names_the_one_it_replaces(read, stamp):
    first, second = read(), read(picture=synthetic_chest(64, 64, 1))
    second.header.StudyInstanceUID = first.header.StudyInstanceUID
    earlier = report([first], [], (), stamp)
    later = report([second, first], [], [earlier], stamp)
    assert later.SOPInstanceUID != earlier.SOPInstanceUID
    assert later.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert (earlier.InstanceNumber, later.InstanceNumber) == (1, 2)
    (study,) = later.PredecessorDocumentsSequence
    sop = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert sop.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert len(groups(later)) == 10
    assert check(later) == ()


def test_the_order_of_images_does_not_matter(read, stamp, encoded):
    first, second = read("One."), read("Two.", picture=synthetic_chest(64, 64, 1))
    second.header.StudyInstanceUID = first.header.StudyInstanceUID
    assert encoded(report([first, second], [], (), stamp)) == encoded(report([second, first], [], (), stamp))


def test_quality_remarks_refer_to_their_image(read, stamp):
    instance = read("The image is small.")
    (remarks,) = named(report([instance], [], (), stamp), "C0034375")
    (remark,) = named(remarks, "111050")
    assert remark.ContentSequence[0].RelationshipType == "INFERRED FROM"
    image = remark.ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == instance.header.SOPInstanceUID


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagerPixelSpacing": None},
        {"PatientOrientation": None},
        {"PatientOrientation": ""},
        {"PatientOrientation": ["X", "F"]},
        {"Modality": "OT"},
        {"Rows": None},
    ],
)
def test_the_image_library_is_there_only_with_all_its_attributes(read, stamp, tags):
    assert len(named(report([read()], [], (), stamp), "111028")) == 1
    instance = read()
    for keyword, value in tags.items():
        if value is None:
            delattr(instance.header, keyword)
        else:
            setattr(instance.header, keyword, value)
    assert named(report([instance], [], (), stamp), "111028") == []


@pytest.mark.parametrize("spacing", [b"0.5", b"0.5\\wide", b"0\\0", b"nan\\1"])
def test_an_unusable_spacing_leaves_the_image_library_out(read, stamp, spacing):
    instance = read()
    encoded = io.BytesIO()
    instance.header.save_as(encoded)
    header = dcmread(io.BytesIO(encoded.getvalue()))
    tag = header.get_item("ImagerPixelSpacing").tag
    header[tag] = header.get_item(tag)._replace(value=spacing, length=len(spacing))
    document = report([dataclasses.replace(instance, header=header)], [], (), stamp)
    assert named(document, "111028") == []


def test_requests_and_accession_number_go_into_the_document(read, stamp):
    request = Dataset()
    request.RequestedProcedureID = "RP-7"
    instance = read(RequestAttributesSequence=[request])
    document = report([instance], [], (), stamp)
    assert document.AccessionNumber == "A-0001"
    assert document.ReferencedRequestSequence[0].RequestedProcedureID == "RP-7"


def test_what_the_order_says_is_part_of_the_document_and_of_its_uid(read, stamp):
    order = Dataset()
    order.RequestedProcedureID, order.FillerOrderNumberImagingServiceRequest = "RP-8", "F\u00fcller"
    first, second = read(), read(InstanceNumber=2, StudyInstanceUID=read().header.StudyInstanceUID)
    plain = report([first, second], [], (), stamp)
    with_order = [dataclasses.replace(one, order=request_of(order)) for one in (second, first)]
    document = report(with_order, [], (), stamp)
    (request,) = document.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP-8", "A-0001")
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert check(document) == ()
    assert document.SOPInstanceUID != plain.SOPInstanceUID
    assert document == report(with_order[::-1], [], (), stamp)
    order.RequestedProcedureID = "RP-9"
    changed = [dataclasses.replace(one, order=request_of(order)) for one in (second, first)]
    assert report(changed, [], (), stamp).SOPInstanceUID != document.SOPInstanceUID
    assert "ReferencedRequestSequence" not in plain


def test_several_models_studies_or_no_image_are_refused(read, stamp, findings):
    with pytest.raises(EvidenceError, match="by 0"):
        report([], [], (), stamp)
    other = dataclasses.replace(findings, model=dataclasses.replace(findings.model, version="2"))
    foreign = ReadInstance(header=make_radiograph(bits=8), findings=other)
    with pytest.raises(EvidenceError, match="by 2"):
        report([read(), foreign], [], (), stamp)
    with pytest.raises(EvidenceError, match="one study"):
        report([read(), read(bits=10)], [], (), stamp)


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID"])
@pytest.mark.parametrize("other", ["SECRET-2", None])
def test_images_of_different_patients_are_refused_without_naming_them(read, stamp, keyword, other):
    first = read(**{keyword: "SECRET-1"})
    study = first.header.StudyInstanceUID
    second = read(**{keyword: other, "StudyInstanceUID": study, "InstanceNumber": 2})
    with pytest.raises(EvidenceError, match=rf"different patients by {keyword}: .* correct") as refused:
        report([first, second], [], (), stamp)
    assert "SECRET" not in str(refused.value)
    same = read(**{keyword: "SECRET-1", "StudyInstanceUID": study, "InstanceNumber": 2})
    assert check(report([first, same], [], (), stamp)) == ()


def test_an_unknown_class_is_refused(read, stamp, findings):
    odd = Findings(
        scores=(ClassScore(head="h", label="oedema", score=0.5, threshold=0.5),), model=findings.model
    )
    with pytest.raises(EvidenceError, match="'oedema'"):
        report([dataclasses.replace(read(), findings=odd)], [], (), stamp)


REASON = "The model makes no claim on bacterial pneumonia for a patient of 56 years."


@pytest.fixture
def partly(findings):
    """Findings whose second class of each head is withheld."""
    return dataclasses.replace(
        findings,
        scores=tuple(s for s in findings.scores if s.label != "bacterial_pneumonia"),
        withheld=tuple(
            Withheld(head=s.head, label=s.label, reason=REASON)
            for s in findings.scores
            if s.label == "bacterial_pneumonia"
        ),
    )


def test_a_withheld_class_has_its_reason_and_nothing_that_tells_its_score(
    read, stamp, findings, partly, dciodvfy_errors, dsrdump
):
    document = report([dataclasses.replace(read(), findings=partly)], [], (), stamp)
    assert check(document) == ()
    assert dciodvfy_errors(document) == []
    found = {named(group, "112039")[0].TextValue: group for group in groups(document)}
    assert set(found) == {f"{s.head}/{s.label}" for s in findings.scores}
    for name in ("binary/bacterial_pneumonia", "multiclass/bacterial_pneumonia"):
        group = found[name]
        assert named(group, "111012") == []  # certainty
        (verdict,) = named(group, "278201002")
        assert verdict.ConceptCodeSequence[0].CodeMeaning == "Not Evaluated"
        assert [item.TextValue for item in named(group, "121106")] == [REASON]
        assert named(group, "121071")[0].ConceptCodeSequence[0].CodeValue == "53084003"
        assert not any("reached" in text for text in texts(group))
        assert len(named(group, "121112")) == 1
    assert len(named(found["multiclass/covid19"], "111012")) == 1
    said = list(texts(document))
    assert "Certainties of head multiclass answer: COVID-19, bacterial pneumonia or normal." in said
    assert any("is withheld" in text for text in said)
    assert "NUM:(111012" in dsrdump(document).replace(" ", "")


def test_with_everything_withheld_the_report_says_why_of_each_class(read, stamp, findings, dciodvfy_errors):
    withheld = tuple(Withheld(head=s.head, label=s.label, reason=REASON) for s in findings.scores)
    nothing = dataclasses.replace(findings, scores=(), withheld=withheld)
    document = report([dataclasses.replace(read("No lung fields."), findings=nothing)], [], (), stamp)
    assert check(document) == ()
    assert dciodvfy_errors(document) == []
    assert len(groups(document)) == 5
    said = list(texts(document))
    assert said.count(REASON) == 5
    assert "No lung fields." in said
    assert not any("Certainties" in text or "threshold" in text for text in said)
    assert not any(item.ValueType == "NUM" for group in groups(document) for item in group.ContentSequence)


def test_long_and_foreign_names_of_a_model_still_make_a_document(read, stamp, findings, dciodvfy_errors):
    model = dataclasses.replace(findings.model, name="Neumonía 研究", manufacturer="a\\b" * 40)
    instance = dataclasses.replace(read(), findings=dataclasses.replace(findings, model=model))
    document = report([instance], [], (), stamp)
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.ContributingEquipmentSequence[0].Manufacturer == ("a/b" * 40)[:64]
    assert dciodvfy_errors(document) == []


def test_dcmtk_shows_every_class(read, both, dsrdump):
    _, document = both(read("The image is small."), synthetic_chest(64, 64, 0))
    shown = dsrdump(document)
    for meaning, certainty in (
        ("COVID-19", "93.0"),
        ("Bacterial pneumonia", "7.0"),
        ("COVID-19", "81.25"),
        ("Bacterial pneumonia", "15.0"),
        ("Normal", "3.75"),
    ):
        pattern = (
            rf'"Finding"\)=\([0-9]+,SCT,"{re.escape(meaning)}"\)'
            rf'(?:(?!"Finding"\)).)*"Certainty of Finding"\)="{re.escape(certainty)}"'
        )
        assert re.search(pattern, shown, re.DOTALL), (meaning, certainty)
    assert "AI-derived, not a diagnosis" in shown
    assert "assuming pneumonia: COVID-19 against bacterial pneumonia" in shown


def test_highdicom_reads_the_report_back(read, both, read_back):
    _, document = both(read(), synthetic_chest(64, 64, 0))
    parsed = hd.sr.Comprehensive3DSR.from_dataset(read_back(document))
    assert isinstance(parsed.content, hd.sr.MeasurementReport)
    measured = parsed.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in measured] == [
        "binary/covid19",
        "binary/bacterial_pneumonia",
        "multiclass/covid19",
        "multiclass/bacterial_pneumonia",
        "multiclass/normal",
    ]
    assert [group.finding_type.meaning for group in measured][-1] == "Normal"
    assert measured[0].get_measurements()[0].value == 93.0
    assert len({group.tracking_uid for group in measured}) == 5


def test_the_report_holds_no_date_of_its_making_but_the_stamp(read, stamp):
    later = dataclasses.replace(stamp, made_at=stamp.made_at + dt.timedelta(days=400))
    first, second = (report([read()], [], (), s) for s in (stamp, later))
    differing = {element.keyword for element in first if element != second[element.tag]}
    assert differing == {
        "InstanceCreationDate",
        "ContentDate",
        "ContributingEquipmentSequence",
    }
