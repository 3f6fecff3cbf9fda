"""The findings of one study as a Comprehensive 3D SR after TID 1500 (IHE AI Results, Rev. 1.1, 6.5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import highdicom as hd
from pydicom import Dataset, FileDataset
from pydicom.uid import Comprehensive3DSRStorage

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import required_uid, single
from cxr_pacs.evidence.conclusion import conclusions
from cxr_pacs.evidence.document import caution, language_of_content, next_number, observer, separate
from cxr_pacs.evidence.finding_site import laterality
from cxr_pacs.evidence.identity import Stamp, instance_uid, series_uid
from cxr_pacs.evidence.image_library import image_library
from cxr_pacs.evidence.provenance import (
    DISCLAIMER,
    Output,
    common_model,
    common_modules,
    settle_character_set,
)
from cxr_pacs.evidence.secondary_capture import heatmap_uid
from cxr_pacs.evidence.source import (
    ReadInstance,
    image_reference,
    order_digests,
    orders_of,
    referenced_requests,
    references,
    reported_procedures,
)
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore, Findings, ModelIdentity, Withheld

__all__ = ["SERIES_NUMBER", "report"]

SERIES_NUMBER: Final = 9001
SERIES_DESCRIPTION: Final = f"AI CXR findings - {DISCLAIMER}"

_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS


def report(
    instances: Sequence[ReadInstance],
    heatmaps: Sequence[Dataset],
    predecessors: Sequence[Dataset],
    stamp: Stamp,
) -> FileDataset:
    """Report on all images of a study that were read.

    Each class of each head is a measurement group of its image: finding, certainty in per cent, whether the
    decision threshold is reached, algorithm, site, source image, and the heatmap where there is one. Then
    follow the conclusions on the study as a whole. The document is complete, preliminary and unverified: no
    human signed it.

    Parameters
    ----------
    instances : sequence of ReadInstance
        At least one; all of one study, read by one model. Their order does not matter.
    heatmaps : sequence of Dataset
        What `heatmap` made from them; all become evidence.
    predecessors : sequence of Dataset
        The reports that this one replaces; they make its UID another one.
    stamp : Stamp
        Pins UIDs and times: the same arguments give the same bytes.

    Raises
    ------
    EvidenceError
        No instance, several studies, patients or models, a class without a code, or a source that cannot be
        referenced.

    References
    ----------
    PS3.3 A.35.13, C.17.1 to C.17.3; PS3.16 TID 1500, TID 1501, TID 4019, TID 1004.
    """
    model = common_model(instances)
    read = sorted(instances, key=lambda instance: required_uid(instance.header, "SOPInstanceUID"))
    headers = [instance.header for instance in read]
    evidence = references([*headers, *heatmaps])
    if len(evidence) != 1:
        raise EvidenceError("a report covers images and heatmaps of one study only: split them by study")
    _require_one_patient(headers)

    lead = headers[0]
    dataset = common_modules(lead, _output(read, predecessors, model, stamp), model, stamp)
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence
    if requests := referenced_requests(lead, orders_of(read)):
        dataset.ReferencedRequestSequence = requests
    if predecessors:
        dataset.PredecessorDocumentsSequence = references(predecessors)
    dataset.update(_content(read, heatmaps, stamp))
    separate(dataset)
    settle_character_set(dataset, lead)
    return dataset


def _require_one_patient(headers: Sequence[Dataset]) -> None:
    for keyword in ("PatientID", "IssuerOfPatientID"):
        if len({single(header, keyword) for header in headers}) > 1:
            raise EvidenceError(
                f"the images of one study name different patients by {keyword}: no report is made; "
                "correct the study at its source and send it again under new UIDs"
            )


def _output(
    read: Sequence[ReadInstance], predecessors: Sequence[Dataset], model: ModelIdentity, stamp: Stamp
) -> Output:
    headers = [instance.header for instance in read]
    made_of: list[str] = [required_uid(one, "SOPInstanceUID") for one in (*headers, *predecessors)]
    made_of += order_digests(orders_of(read))
    study = required_uid(headers[0], "StudyInstanceUID")
    return Output(
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=instance_uid(stamp, made_of, model.digest, "report"),
        series_instance_uid=series_uid(stamp, study, model.digest, "report"),
        modality="SR",
        series_description=SERIES_DESCRIPTION,
        series_number=SERIES_NUMBER,
        instance_number=next_number(predecessors),
    )


def _content(read: Sequence[ReadInstance], heatmaps: Sequence[Dataset], stamp: Stamp) -> Dataset:
    """Content tree (TID 1500): its root container."""
    drawn = {str(heatmap.SOPInstanceUID): heatmap for heatmap in heatmaps}
    headers = [instance.header for instance in read]
    tree = hd.sr.MeasurementReport(
        observation_context=observer(read[0].findings.model),
        procedure_reported=reported_procedures(headers[0]) or codes.PLAIN_CHEST_XRAY,
        imaging_measurements=[
            _group(instance, one, drawn, stamp) for instance in read for one in instance.classes
        ],
        title=codes.REPORT_TITLE,
        language_of_content_item_and_descendants=language_of_content(stamp.language),
    )
    root = tree[0]
    if library := image_library(headers):
        root.ContentSequence.insert(len(root.ContentSequence) - 1, library)  # before the measurements
    root.ContentSequence.append(_remarks(read, stamp.language))
    return root


def _group(
    instance: ReadInstance, one: ClassScore | Withheld, drawn: Mapping[str, Dataset], stamp: Stamp
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Measurement group (TID 1501) of one class of one image.

    A class that is withheld was not evaluated: it has the reason in place of certainty and verdict.
    """
    findings = instance.findings
    source = image_reference(instance.header)
    reference = (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID)
    kind = f"tracking|{one.head}|{one.label}"
    beside: hd.sr.TextContentItem | hd.sr.ImageContentItem | None
    if isinstance(one, Withheld):
        measurements, verdict = [], codes.NOT_EVALUATED
        beside = hd.sr.TextContentItem(codes.COMMENT, words.translated(one.reason, stamp.language), _CONTAINS)
    else:
        certainty = round(100 * float(one.score), 2)
        measurements = [hd.sr.Measurement(codes.CERTAINTY, certainty, codes.PERCENT)]
        verdict = codes.POSITIVE if one.passed else codes.NEGATIVE
        beside = _illustration(drawn.get(heatmap_uid(instance.header, findings, one, stamp)))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=instance_uid(stamp, [reference[1]], findings.model.digest, kind),
            identifier=f"{one.head}/{one.label}",
        ),
        finding_type=codes.finding(findings.model, one.label),
        algorithm_id=_algorithm(findings, one, stamp.language),
        finding_sites=[hd.sr.FindingSite(codes.LUNG, laterality(instance.header, one))],
        measurements=measurements,
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(codes.CLASSIFICATION, verdict)],
        source_images=[hd.sr.SourceImageForMeasurementGroup(*reference)],
    )
    if beside is not None:
        group[0].ContentSequence.append(beside)
    return group


def _illustration(picture: Dataset | None) -> hd.sr.ImageContentItem | None:
    if picture is None:
        return None
    return hd.sr.ImageContentItem(
        codes.ILLUSTRATION, picture.SOPClassUID, picture.SOPInstanceUID, relationship_type=_CONTAINS
    )


def _algorithm(
    findings: Findings, one: ClassScore | Withheld, language: Language
) -> hd.sr.AlgorithmIdentification:
    """Algorithm Identification (TID 4019), with all that decides a score as parameters."""
    model = findings.model
    parameters = [
        words.WEIGHTS.say(language, digest=model.digest),
        words.PREPROCESSING.say(language, name=model.preprocessing),
        words.HEAD_ASKED.say(language, head=one.head, question=_question(findings, one.head, language)),
    ]
    if isinstance(one, ClassScore):
        verdict = words.REACHED if one.passed else words.NOT_REACHED
        threshold = 100 * one.threshold
        parameters.append(words.THRESHOLD.say(language, threshold=threshold, verdict=verdict.say(language)))
    return hd.sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        manufacturer=model.manufacturer,
        family=codes.ALGORITHM_FAMILY,
        parameters=parameters,
    )


def _question(findings: Findings, head: str, language: Language) -> str:
    return codes.question(findings.model, findings.labels(head), language)


def _remarks(read: Sequence[ReadInstance], language: Language) -> hd.sr.ContainerContentItem:
    """Qualitative Evaluations (TID 1500 rows 12 to 14): conclusions, and what to know beside the numbers."""
    model = read[0].findings.model
    told = {score.head: instance.findings for instance in read for score in instance.findings.scores}
    sentences = [caution(model, language)]
    if told:
        sentences.append(words.POSITIVE_MEANS.say(language))
    sentences += [
        words.HEAD_ANSWERS.say(language, head=head, question=_question(told[head], head, language))
        for head in told
    ]
    if any(instance.findings.withheld for instance in read):
        sentences.append(words.WITHHELD_MEANS.say(language))
    container = hd.sr.ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=_CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(
        [
            *conclusions(read, language),
            *(hd.sr.TextContentItem(codes.COMMENT, text, _CONTAINS) for text in sentences),
            *(
                _quality(instance.header, words.translated(remark, language))
                for instance in read
                for remark in instance.quality
            ),
        ]
    )
    return container


def _quality(header: Dataset, remark: str) -> hd.sr.TextContentItem:
    """Quality remark on one image, inferred from that image."""
    source = image_reference(header)
    text = hd.sr.TextContentItem(codes.QUALITY, remark, _CONTAINS)
    image = hd.sr.ImageContentItem(
        codes.SOURCE_IMAGE,
        source.ReferencedSOPClassUID,
        source.ReferencedSOPInstanceUID,
        relationship_type=hd.sr.RelationshipTypeValues.INFERRED_FROM,
    )
    text.ContentSequence = hd.sr.ContentSequence([image])
    return text
