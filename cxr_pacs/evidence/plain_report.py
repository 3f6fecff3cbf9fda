"""The report in sentences: a Basic Text SR (PS3.3 A.35.1) beside the measurement report.

Several viewers show nothing of a TID 1500 tree; this document says the same in plain text, for people. Where
the two could differ, the measurement report counts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

import highdicom as hd
from pydicom import Dataset, FileDataset
from pydicom.sr.coding import Code
from pydicom.uid import BasicTextSRStorage

from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import required_uid
from cxr_pacs.evidence.conclusion import concluded
from cxr_pacs.evidence.document import caution, language_of_content, next_number, observer, separate
from cxr_pacs.evidence.finding_site import laterality
from cxr_pacs.evidence.identity import Stamp, instance_uid, series_uid
from cxr_pacs.evidence.provenance import (
    DISCLAIMER,
    Output,
    common_model,
    common_modules,
    settle_character_set,
)
from cxr_pacs.evidence.source import (
    ReadInstance,
    ReportedStudy,
    image_reference,
    orders_of,
    referenced_requests,
    references,
)
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore, ModelIdentity, Withheld

__all__ = ["SERIES_NUMBER", "plain_report"]

SERIES_NUMBER: Final = 9006
SERIES_DESCRIPTION: Final = f"AI CXR findings in words - {DISCLAIMER}"

_PLACES: Final = MappingProxyType(
    {
        codes.LEFT: words.IN_LEFT_LUNG,
        codes.RIGHT: words.IN_RIGHT_LUNG,
        codes.BILATERAL: words.IN_BOTH_LUNGS,
    }
)
_WIDTH: Final = 80  # characters
_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS
_INFERRED: Final = hd.sr.RelationshipTypeValues.INFERRED_FROM


def plain_report(study: ReportedStudy, predecessors: Sequence[Dataset], stamp: Stamp) -> FileDataset:
    """Say in sentences what the report of `study` says in codes and numbers.

    Parameters
    ----------
    study : ReportedStudy
        Images, heatmaps and the report of them.
    predecessors : sequence of Dataset
        The plain reports that this one replaces.
    stamp : Stamp
        Pins UIDs and times: the same arguments give the same bytes.

    Raises
    ------
    EvidenceError
        As `report`.

    References
    ----------
    PS3.3 A.35.1, C.17.1 to C.17.3; PS3.16 TID 2000, CID 7000 to 7002.
    """
    model = common_model(study.instances)
    headers = [instance.header for instance in study.read]
    lead = headers[0]
    document = required_uid(study.document, "SOPInstanceUID")
    dataset = common_modules(
        lead,
        Output(
            sop_class_uid=BasicTextSRStorage,
            sop_instance_uid=instance_uid(stamp, [document], model.digest, "plain-report"),
            series_instance_uid=series_uid(
                stamp, required_uid(lead, "StudyInstanceUID"), model.digest, "plain-report"
            ),
            modality="SR",
            series_description=SERIES_DESCRIPTION,
            series_number=SERIES_NUMBER,
            instance_number=next_number(predecessors),
        ),
        model,
        stamp,
    )
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = references(
        [*headers, *study.heatmaps, study.document]
    )
    if requests := referenced_requests(lead, orders_of(study.read)):
        dataset.ReferencedRequestSequence = requests
    if predecessors:
        dataset.PredecessorDocumentsSequence = references(predecessors)
    dataset.update(_content(study, model, stamp.language))
    separate(dataset)
    settle_character_set(dataset, lead)
    return dataset


def _content(study: ReportedStudy, model: ModelIdentity, language: Language) -> hd.sr.ContainerContentItem:
    """Root container (TID 2000), with one section for each thing to know."""
    root = hd.sr.ContainerContentItem(codes.PLAIN_REPORT_TITLE, template_id="2000")
    sections = [
        _section(
            codes.SUMMARY_SECTION, [_text(codes.SUMMARY_SECTION, t) for t in _summary(study, model, language)]
        ),
        _section(codes.FINDINGS_SECTION, list(_findings(study, language))),
        _section(
            codes.PROCEDURE_SECTION,
            [_text(codes.PROCEDURE_DESCRIPTION, t) for t in _procedure(study, model, language)],
        ),
    ]
    if study.heatmaps:
        sections.append(
            _section(codes.IMAGES_SECTION, [_image(codes.ILLUSTRATION, i) for i in study.heatmaps])
        )
    root.ContentSequence = hd.sr.ContentSequence(
        [*language_of_content(language), *observer(model), *sections]
    )
    return root


def _section(name: Code, members: Sequence[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    section = hd.sr.ContainerContentItem(name, relationship_type=_CONTAINS)
    section.ContentSequence = hd.sr.ContentSequence(members)
    return section


def _text(name: Code, text: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(name, text, _CONTAINS)


def _image(name: Code, image: Dataset) -> hd.sr.ImageContentItem:
    return hd.sr.ImageContentItem(name, image.SOPClassUID, image.SOPInstanceUID, relationship_type=_CONTAINS)


def _summary(study: ReportedStudy, model: ModelIdentity, language: Language) -> Iterator[str]:
    yield caution(model, language)
    reached = {s.head for instance in study.read for s in instance.findings.scores if s.passed}
    picked = [(instance.findings, score) for instance, score in concluded(study.read)]
    # What a head says that presumes nothing holds without a condition, whatever others say of it.
    firm = {s.label for findings, s in picked if not codes.is_conditional(findings.labels(s.head))}
    passed = dict.fromkeys(
        name if score.label in firm else words.IF_PNEUMONIA.say(language, name=name)
        for _, score in picked
        for name in [codes.class_name(model, score.label, language)]
    )
    told = any(instance.findings.scores for instance in study.read)
    if passed:
        yield words.REACHED_FOR.say(language, names=", ".join(passed))
    elif told and not reached:
        yield words.NONE_REACHED.say(language)
    elif not told:
        yield f"{words.NOTHING_EVALUATED.say(language)} {words.REASONS_BELOW.say(language)}"
    for head in sorted(reached - {score.head for _, score in picked}):
        yield words.HEAD_REFUTED.say(language, head=head)
    if told and any(instance.findings.withheld for instance in study.read):
        yield words.SOME_WITHHELD.say(language)


def _findings(study: ReportedStudy, language: Language) -> Iterator[hd.sr.TextContentItem]:
    """Each class of each image as a sentence inferred from that image, then the remarks on it."""
    count = len(study.read)
    for place, instance in enumerate(study.read, start=1):
        image = "" if count == 1 else words.IMAGE_OF.say(language, place=place, count=count)
        for one in instance.classes:
            first, *others = _verdict(instance, one, language)
            yield _inferred(codes.FINDING, _lines([image + first, *others]), instance)
        for remark in instance.quality:
            yield _inferred(codes.QUALITY, image + words.translated(remark, language), instance)


def _lines(sentences: Sequence[str]) -> str:
    """Each sentence on a line of its own, or on several: some viewers do not wrap the text of a finding."""
    lines = (textwrap.wrap(one, _WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences)
    return "\r\n".join(line for wrapped in lines for line in wrapped)


def _inferred(name: Code, text: str, instance: ReadInstance) -> hd.sr.TextContentItem:
    item = _text(name, text)
    source = image_reference(instance.header)
    item.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.ImageContentItem(
                codes.SOURCE_IMAGE,
                source.ReferencedSOPClassUID,
                source.ReferencedSOPInstanceUID,
                relationship_type=_INFERRED,
            )
        ]
    )
    return item


def _verdict(instance: ReadInstance, one: ClassScore | Withheld, language: Language) -> Iterator[str]:
    """Sentences on one class, the verdict first."""
    name = words.capitalised(codes.class_name(instance.findings.model, one.label, language))
    subject = words.SUBJECT.say(language, name=name, head=one.head)
    if isinstance(one, Withheld):
        yield words.NOT_EVALUATED.say(language, subject=subject)
        yield words.translated(one.reason, language)
        return
    found, verdict = (words.FOUND, words.REACHED) if one.passed else (words.NOT_FOUND, words.NOT_REACHED)
    yield found.say(language, subject=subject)
    yield words.CERTAINTY.say(
        language,
        certainty=100 * one.score,
        threshold=100 * one.threshold,
        verdict=verdict.say(language),
    )
    if side := laterality(instance.header, one):
        yield _PLACES[side].say(language)


def _procedure(study: ReportedStudy, model: ModelIdentity, language: Language) -> Iterator[str]:
    yield words.MODEL.say(
        language,
        name=model.name,
        version=model.version,
        manufacturer=model.manufacturer,
        digest=model.digest,
        preprocessing=model.preprocessing,
    )
    told = {score.head: instance.findings for instance in study.read for score in instance.findings.scores}
    for head, findings in told.items():
        question = codes.question(model, findings.labels(head), language)
        yield words.HEAD_ANSWERS.say(language, head=head, question=question)
    yield words.SAME_CODED.say(language, series=study.document.SeriesNumber)
