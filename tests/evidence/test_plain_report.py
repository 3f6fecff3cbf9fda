"""The report in sentences: everything that the measurement report says, nothing that it does not."""

from __future__ import annotations

import dataclasses

from optional_objects import dciodvfy, study_of
from pydicom import Dataset
from test_key_objects import all_withheld, another, with_scores

from cxr_pacs.evidence import check, plain_report
from cxr_pacs.inference.findings import Withheld


def sentences(item):
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "TEXT" and child.RelationshipType == "CONTAINS":
            yield child.TextValue
        yield from sentences(child)


def said(study, stamp, predecessors=()):
    return list(sentences(plain_report(study, predecessors, stamp)))


def test_it_says_findings_thresholds_model_and_disclaimer(read, stamp, model):
    reached, not_reached = (
        f"decision threshold 42.00 % {verdict}." for verdict in ("reached", "not reached")
    )
    assert said(study_of(stamp, read("The image is small.")), stamp) == [
        "AI-derived, not a diagnosis. Research use only.",
        "The certainty reaches the decision threshold for: COVID-19.",
        f"COVID-19 (head binary): positive.\r\nCertainty 93.00 %, {reached}",
        f"Bacterial pneumonia (head binary): negative.\r\nCertainty 7.00 %, {not_reached}",
        f"COVID-19 (head multiclass): positive.\r\nCertainty 81.25 %, {reached}",
        f"Bacterial pneumonia (head multiclass): negative.\r\nCertainty 15.00 %, {not_reached}",
        f"Normal (head multiclass): negative.\r\nCertainty 3.75 %, {not_reached}",
        "The image is small.",
        (
            f"Model {model.name} {model.version} of {model.manufacturer}, weights sha256:{model.digest}, "
            f"preprocessing {model.preprocessing}."
        ),
        "Certainties of head binary answer: assuming pneumonia: COVID-19 against bacterial pneumonia.",
        "Certainties of head multiclass answer: COVID-19, bacterial pneumonia or normal.",
        (
            "The same findings stand coded in the measurement report of this study (series 9001); "
            "where the two differ, that one counts."
        ),
    ]


def test_with_everything_withheld_it_says_why(read, stamp, tmp_path):
    study = study_of(stamp, all_withheld(read()))
    assert study.heatmaps == ()
    made = plain_report(study, (), stamp)
    text = list(sentences(made))
    assert text[1] == (
        "Nothing was evaluated: the model claims no class for this patient. The reasons stand below."
    )
    reason = "not evaluated.\r\nNo claim for a patient of 3 years."
    assert f"COVID-19 (head multiclass): {reason}" in text
    assert len([t for t in text if t.endswith(reason)]) == 5
    assert not any("certainty" in t.lower() for t in text)
    assert check(made) == ()
    assert dciodvfy(made, tmp_path) == []


def test_what_is_withheld_beside_what_is_told(read, stamp):
    instance = read()
    findings = dataclasses.replace(
        instance.findings,
        scores=instance.findings.scores[:2],
        withheld=(Withheld(head="multiclass", label="normal", reason="No claim for this view."),),
    )
    text = said(study_of(stamp, dataclasses.replace(instance, findings=findings)), stamp)
    assert "Some classes were not evaluated; the reasons stand below." in text
    assert "Normal (head multiclass): not evaluated.\r\nNo claim for this view." in text


def test_no_class_reached(read, stamp):
    text = said(study_of(stamp, with_scores(read())), stamp)
    assert text[1] == "No certainty reaches its decision threshold."


def test_health_is_told_only_where_no_disease_is(read, stamp):
    def told(**scores):
        return said(study_of(stamp, with_scores(read(), **scores)), stamp)[1]

    assert told(normal=0.99) == "The certainty reaches the decision threshold for: normal."
    assert told(normal=0.99, covid19=0.99) == "The certainty reaches the decision threshold for: COVID-19."


def test_each_sentence_on_an_image_is_inferred_from_it(read, stamp):
    first = read("Small.")
    second = another(read, first)
    made = plain_report(study_of(stamp, first, second), (), stamp)
    inferred = {}
    for section in made.ContentSequence:
        for item in section.get("ContentSequence", ()):
            for source in item.get("ContentSequence", ()):
                assert source.RelationshipType == "INFERRED FROM"
                uid = source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                inferred.setdefault(uid, set()).add(item.TextValue[:14])
    ordered = sorted([first, second], key=lambda i: i.header.SOPInstanceUID)
    assert inferred == {
        i.header.SOPInstanceUID: {f"Image {n} of 2. "[:14]} for n, i in enumerate(ordered, start=1)
    }


def test_evidence_names_images_heatmaps_and_the_report(read, stamp):
    instance = read()
    study = study_of(stamp, instance)
    made = plain_report(study, (), stamp)
    (evidence,) = made.CurrentRequestedProcedureEvidenceSequence
    listed = {
        sop.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert listed == {
        instance.header.SOPInstanceUID,
        study.heatmaps[0].SOPInstanceUID,
        study.document.SOPInstanceUID,
    }


def test_a_successor_names_its_predecessor(read, stamp):
    first = read()
    earlier = plain_report(study_of(stamp, first), (), stamp)
    later = plain_report(study_of(stamp, first, another(read, first)), [earlier], stamp)
    (study,) = later.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert later.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert later.InstanceNumber == 2
    assert "PredecessorDocumentsSequence" not in earlier
    assert check(later) == ()


def test_dcmtk_reads_it(read, stamp, dsrdump):
    text = dsrdump(plain_report(study_of(stamp, read()), (), stamp))
    assert "AI-derived, not a diagnosis" in text
    assert "(43468-8,LN" in text
    assert "Certainty 93.00 %" in text


def test_requests_of_the_source_are_carried_over(read, stamp):
    request = Dataset()
    request.RequestedProcedureID = "RP-7"
    made = plain_report(study_of(stamp, read(RequestAttributesSequence=[request])), (), stamp)
    assert made.ReferencedRequestSequence[0].RequestedProcedureID == "RP-7"
