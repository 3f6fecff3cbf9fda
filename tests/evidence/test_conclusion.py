"""What a report concludes, and in which lung: never more than the scores, the map and the header tell."""

from __future__ import annotations

import dataclasses
import io

import pytest
from optional_objects import dciodvfy, study_of
from pydicom import dcmread
from radiographs import synthetic_chest
from test_key_objects import all_withheld, with_scores
from test_plain_report import said
from test_structured_report import groups, named

from cxr_pacs.evidence import check, key_objects, report
from cxr_pacs.evidence.reading_back import read_document
from cxr_pacs.inference.findings import Withheld


def concluded(document):
    """Meaning, sentence and images of each conclusion."""
    (evaluations,) = named(document, "C0034375")
    for item in named(evaluations, "121077"):
        comment, *images = item.ContentSequence
        assert comment.RelationshipType == "HAS PROPERTIES"
        assert {image.RelationshipType for image in images} == {"INFERRED FROM"}
        uids = {image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in images}
        yield item.ConceptCodeSequence[0].CodeMeaning, comment.TextValue, uids


def sided(instance, side, label="covid19"):
    """`instance` with the map of every class `label` on one side of the picture."""
    scores = tuple(
        dataclasses.replace(score, side=side) if score.label == label else score
        for score in instance.findings.scores
    )
    return dataclasses.replace(instance, findings=dataclasses.replace(instance.findings, scores=scores))


def lateralities(document):
    """Laterality of each group that has one, by tracking identifier."""
    found = {}
    for group in groups(document):
        (site,), (tracking,) = named(group, "363698007"), named(group, "112039")
        assert site.ConceptCodeSequence[0].CodeMeaning == "Lung"
        for modifier in site.get("ContentSequence", ()):
            assert modifier.ConceptNameCodeSequence[0].CodeValue == "272741003"
            assert modifier.RelationshipType == "HAS CONCEPT MOD"
            code = modifier.ConceptCodeSequence[0]
            assert code.CodingSchemeDesignator == "SCT"
            found[tracking.TextValue] = (code.CodeValue, code.CodeMeaning)
    return found


def test_each_head_concludes_what_it_reached(read, stamp, tmp_path):
    instance = read()
    document = report([instance], [], (), stamp)
    uids = {instance.header.SOPInstanceUID}
    sentence = "the certainty reaches the decision threshold for COVID-19."
    assert list(concluded(document)) == [
        ("COVID-19", f"Head binary, assuming pneumonia: {sentence}", uids),
        ("COVID-19", f"Head multiclass: {sentence}", uids),
    ]
    assert check(document) == ()
    assert dciodvfy(document, tmp_path) == []


def test_where_nothing_is_reached_that_is_no_negative(read, stamp, tmp_path):
    instance = with_scores(read())
    document = report([instance], [], (), stamp)
    meanings, sentences, _ = zip(*concluded(document), strict=True)
    assert set(meanings) == {"Indeterminate"}
    assert sentences[-1] == (
        "Head multiclass: the certainty reaches the decision threshold for no claimed class: "
        "COVID-19, bacterial pneumonia or normal."
    )
    assert dciodvfy(document, tmp_path) == []


def test_health_is_concluded_only_where_no_disease_is(read, stamp):
    """Thresholds are chosen class by class: two classes of a head may reach theirs at once."""

    def of_multiclass(**scores):
        document = report([with_scores(read(), **scores)], [], (), stamp)
        return [meaning for meaning, sentence, _ in concluded(document) if "multiclass" in sentence]

    assert of_multiclass(normal=0.99) == ["Normal"]
    assert of_multiclass(normal=0.99, covid19=0.99) == ["COVID-19"]


def with_heads(instance, **heads):
    """The same instance with the scores that `heads` name; the others fall to 0."""
    changed = tuple(
        dataclasses.replace(s, score=heads.get(s.head, {}).get(s.label, 0.0))
        for s in instance.findings.scores
    )
    return dataclasses.replace(instance, findings=dataclasses.replace(instance.findings, scores=changed))


NORMAL, COVID = {"normal": 0.9}, {"covid19": 0.9}
REFUTED = "Head binary assumes pneumonia, but another head concludes normal: nothing is concluded from it."


def test_what_presumes_pneumonia_concludes_nothing_beside_health(read, stamp, tmp_path):
    instance = with_heads(read(), binary=COVID, multiclass=NORMAL)
    document = report([instance], [], (), stamp)
    (first, second) = concluded(document)
    assert first[:2] == ("Indeterminate", REFUTED)
    assert second[0] == "Normal"
    assert dciodvfy(document, tmp_path) == []
    study = study_of(stamp, instance)
    texts = said(study, stamp)
    assert texts[1:3] == ["The certainty reaches the decision threshold for: normal.", REFUTED]
    assert key_objects(study, (), stamp) is None
    spanish = dataclasses.replace(stamp, language="es")
    (sentence, *_) = [text for _, text, _ in concluded(report([instance], [], (), spanish))]
    assert sentence.startswith("La salida binary supone neumonía, pero otra salida concluye normal")


def test_of_two_images_the_healthy_one_gives_no_condition_its_way(read, stamp):
    ill, healthy = read(), read(picture=synthetic_chest(64, 64, 1))
    healthy.header.StudyInstanceUID = ill.header.StudyInstanceUID
    ill = with_heads(ill, binary=COVID, multiclass=COVID)
    healthy = with_heads(healthy, binary={"bacterial_pneumonia": 0.9}, multiclass=NORMAL)
    got = list(concluded(report([ill, healthy], [], (), stamp)))
    assert [meaning for meaning, _, _ in got] == ["COVID-19", "COVID-19"]
    assert {frozenset(uids) for _, _, uids in got} == {frozenset({ill.header.SOPInstanceUID})}
    quiet = with_heads(ill, multiclass=COVID)
    got = list(concluded(report([quiet, healthy], [], (), stamp)))
    assert got[0][:2] == ("Indeterminate", REFUTED)
    undecided = with_heads(ill, binary=COVID)
    got = list(concluded(report([undecided, healthy], [], (), stamp)))
    assert [meaning for meaning, _, _ in got] == ["Indeterminate", "Normal"]


def test_without_another_answer_the_condition_stands_with_the_conclusion(read, stamp):
    instance = with_heads(read(), binary=COVID)
    (first, second) = concluded(report([instance], [], (), stamp))
    assert (first[0], second[0]) == ("COVID-19", "Indeterminate")
    assert first[1].startswith("Head binary, assuming pneumonia: ")
    texts = said(study_of(stamp, instance), stamp)
    assert "The certainty reaches the decision threshold for: COVID-19 (assuming pneumonia)." in texts
    both = with_heads(read(), binary=COVID, multiclass=COVID)
    texts = said(study_of(stamp, both), stamp)
    assert "The certainty reaches the decision threshold for: COVID-19." in texts


def test_only_what_is_claimed_is_concluded(read, stamp):
    instance = read()
    scores = instance.findings.scores
    withheld = tuple(Withheld(head=s.head, label=s.label, reason="No claim.") for s in scores[:4])
    findings = dataclasses.replace(instance.findings, scores=scores[4:], withheld=withheld)
    document = report([dataclasses.replace(instance, findings=findings)], [], (), stamp)
    ((meaning, sentence, _),) = concluded(document)
    assert (meaning, sentence) == (
        "Indeterminate",
        "Head multiclass: the certainty reaches the decision threshold for no claimed class: normal.",
    )


def test_where_nothing_is_claimed_nothing_was_evaluated(read, stamp, tmp_path):
    document = report([all_withheld(read())], [], (), stamp)
    ((meaning, sentence, _),) = concluded(document)
    assert meaning == "Not Evaluated"
    assert sentence == "Nothing was evaluated: the model claims no class for this patient."
    assert dciodvfy(document, tmp_path) == []


def test_of_several_images_those_count_in_which_it_was_reached(read, stamp):
    first, second = read(), with_scores(read(picture=synthetic_chest(64, 64, 1)))
    second.header.StudyInstanceUID = first.header.StudyInstanceUID
    document = report([first, second], [], (), stamp)
    _, (meaning, sentence, uids) = concluded(document)
    assert meaning == "COVID-19"
    assert sentence.endswith("for COVID-19 in 1 of 2 images.")
    assert uids == {first.header.SOPInstanceUID}


def test_a_report_without_conclusion_may_not_leave(read, stamp):
    document = report([read()], [], (), stamp)
    (evaluations,) = named(document, "C0034375")
    evaluations.ContentSequence = evaluations.ContentSequence[2:]
    assert check(document) == ("the report concludes nothing",)


def test_a_reader_sees_the_conclusions_first(read, stamp, encoded):
    document = report([read("The image is small.")], [], (), stamp)
    remarks = read_document(dcmread(io.BytesIO(encoded(document)))).remarks
    assert [item.label for item in remarks[:3]] == ["Conclusion", "Conclusion", "Quality Assessment"]
    assert remarks[0].value == (
        "COVID-19. Head binary, assuming pneumonia: "
        "the certainty reaches the decision threshold for COVID-19."
    )


LEFT, RIGHT, BOTH = ("7771000", "Left"), ("24028007", "Right"), ("51440002", "Bilateral")


@pytest.mark.parametrize(
    ("orientation", "side", "expected"),
    [
        (["L", "F"], "left", RIGHT),
        (["L", "F"], "right", LEFT),
        (["R", "F"], "left", LEFT),
        (["R", "F"], "right", RIGHT),
        (["LF", "F"], "right", LEFT),
        (["L", "H"], "right", LEFT),
        (["L", "F"], "both", BOTH),
        (["L", "F"], None, None),
        ("", "left", None),
        (["L"], "left", None),
        (["F", "R"], "left", None),
        (["A", "F"], "left", None),
        (["L", "P"], "left", None),
    ],
)
def test_the_patients_side_follows_from_the_orientation(read, stamp, tmp_path, orientation, side, expected):
    instance = sided(read(PatientOrientation=orientation), side)
    document = report([instance], [], (), stamp)
    found = {} if expected is None else {"binary/covid19": expected, "multiclass/covid19": expected}
    assert lateralities(document) == found
    assert check(document) == ()
    assert dciodvfy(document, tmp_path) == []


def test_what_was_not_found_lies_nowhere(read, stamp):
    below = sided(with_scores(read()), "left")
    assert lateralities(report([below], [], (), stamp)) == {}
    healthy = sided(with_scores(read(), normal=0.9), "left", "normal")
    assert lateralities(report([healthy], [], (), stamp)) == {}


def test_the_plain_report_names_the_lung(read, stamp):
    texts = said(study_of(stamp, sided(read(), "left")), stamp)
    assert sum(text.endswith("\nIts map lies mainly in the right lung.") for text in texts) == 2
    texts = said(study_of(stamp, sided(read(), "both")), stamp)
    assert sum(text.endswith("\nIts map lies in both lungs.") for text in texts) == 2


def test_a_reader_sees_the_side_with_the_finding(read, stamp):
    document = read_document(report([sided(read(), "right")], [], (), stamp))
    assert document.findings[0].name == "COVID-19 (Lung, Left)"
    assert document.findings[1].name == "Bacterial pneumonia (Lung)"
