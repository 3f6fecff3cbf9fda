"""Which images are key images, and what the selection refers to."""

from __future__ import annotations

import dataclasses

import highdicom as hd
import numpy as np
from optional_objects import study_of
from radiographs import synthetic_chest

from cxr_pacs.evidence import check, key_objects
from cxr_pacs.inference.findings import Withheld


def with_scores(instance, **scores):
    """The same instance with other scores by label; those not named fall to 0."""
    changed = tuple(dataclasses.replace(s, score=scores.get(s.label, 0.0)) for s in instance.findings.scores)
    return dataclasses.replace(instance, findings=dataclasses.replace(instance.findings, scores=changed))


def all_withheld(instance):
    findings = instance.findings
    withheld = tuple(
        Withheld(head=s.head, label=s.label, reason="No claim for a patient of 3 years.")
        for s in findings.scores
    )
    return dataclasses.replace(instance, findings=dataclasses.replace(findings, scores=(), withheld=withheld))


def another(read, instance):
    second = read(picture=synthetic_chest(100, 90, 1))
    second.header.StudyInstanceUID = instance.header.StudyInstanceUID
    return second


def test_it_points_at_source_heatmap_and_report(read, stamp, read_back):
    instance = read()
    study = study_of(stamp, instance)
    made = key_objects(study, (), stamp)
    (heatmap,) = study.heatmaps
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(read_back(made))
    referenced = [item.referenced_sop_instance_uid for item in document.content.get_references()]
    assert referenced == [
        instance.header.SOPInstanceUID,
        heatmap.SOPInstanceUID,
        study.document.SOPInstanceUID,
    ]
    for one in (instance.header, heatmap, study.document):
        where = document.resolve_reference(one.SOPInstanceUID)
        assert where == (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    assert made.Modality == "KO"
    assert made.ConceptNameCodeSequence[0].CodeValue == "113000"


def test_its_words_name_class_head_and_condition(read, stamp):
    made = key_objects(study_of(stamp, read()), (), stamp)
    text = next(
        item.TextValue
        for item in made.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    )
    assert text == (
        "AI-derived, not a diagnosis. Certainty at or above the decision threshold: "
        "COVID-19 (head binary: assuming pneumonia: COVID-19 against bacterial pneumonia); "
        "COVID-19 (head multiclass: COVID-19, bacterial pneumonia or normal)."
    )


def test_the_threshold_itself_counts(read, stamp):
    at = with_scores(read(), covid19=0.42)
    below = with_scores(read(), covid19=np.nextafter(0.42, 0))
    assert key_objects(study_of(stamp, at), (), stamp) is not None
    assert key_objects(study_of(stamp, below), (), stamp) is None


def test_health_selects_nothing(read, stamp):
    assert key_objects(study_of(stamp, with_scores(read(), normal=0.99)), (), stamp) is None


def test_what_is_withheld_selects_nothing(read, stamp):
    assert key_objects(study_of(stamp, all_withheld(read())), (), stamp) is None


def test_only_the_images_with_a_reached_class_are_selected(read, stamp):
    first = read()
    second = with_scores(another(read, first), normal=0.99)
    study = study_of(stamp, first, second)
    made = key_objects(study, (), stamp)
    said = made.to_json()
    assert second.header.SOPInstanceUID not in said
    assert study.heatmaps[1].SOPInstanceUID not in said
    assert study.heatmaps[0].SOPInstanceUID in said
    assert check(made) == ()


def test_a_later_selection_stands_after_the_earlier_one(read, stamp):
    first = read()
    earlier = key_objects(study_of(stamp, first), (), stamp)
    later = key_objects(study_of(stamp, first, another(read, first)), [earlier], stamp)
    assert later.SOPInstanceUID != earlier.SOPInstanceUID
    assert later.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert (earlier.InstanceNumber, later.InstanceNumber) == (1, 2)
