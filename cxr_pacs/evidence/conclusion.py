"""What a report concludes of a study as a whole: for each head that is claimed, what is reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import highdicom as hd
from pydicom.sr.coding import Code

from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import Findings

__all__ = ["conclusions"]

_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS
_PROPERTIES: Final = hd.sr.RelationshipTypeValues.HAS_PROPERTIES
_INFERRED: Final = hd.sr.RelationshipTypeValues.INFERRED_FROM


def conclusions(read: Sequence[ReadInstance], language: Language) -> Iterator[hd.sr.CodeContentItem]:
    """Conclude from all images of a study (PS3.16 TID 1500 row 13), one head after the other.

    A head of which some class is claimed concludes each disease that reached its threshold in some image, and
    health only where none did: thresholds are chosen class by class, so both may be reached at once.
    *Indeterminate* where nothing was reached, since a score below a threshold excludes nothing. *Not
    Evaluated* stands alone where nothing is claimed. Each conclusion holds a sentence, and the images that it
    comes from.
    """
    heads = dict.fromkeys(score.head for instance in read for score in instance.findings.scores)
    if not heads:
        yield _conclusion(codes.NOT_EVALUATED, words.NOTHING_EVALUATED.say(language), read)
    for head in heads:
        told = [instance for instance in read if instance.findings.head(head)]
        yield from _of_head(head, told, language)


def _of_head(head: str, told: Sequence[ReadInstance], language: Language) -> Iterator[hd.sr.CodeContentItem]:
    model = told[0].findings.model
    labels = list(dict.fromkeys(score.label for instance in told for score in instance.findings.head(head)))
    images = {
        label: reached
        for label in labels
        if (reached := [instance for instance in told if _reached(instance.findings, head, label)])
    }
    diseases = {label: reached for label, reached in images.items() if codes.is_disease(label)}
    if not images:
        names = codes.class_names(model, labels, words.OR, language)
        sentence = words.HEAD_REACHES_NONE.say(language, head=head, names=names)
        yield _conclusion(codes.INDETERMINATE, sentence, told)
    for label, reached in (diseases or images).items():
        text = words.HEAD_REACHES if len(told) == 1 else words.HEAD_REACHES_IN_SOME
        name = codes.class_name(model, label, language)
        sentence = text.say(language, head=head, name=name, count=len(reached), total=len(told))
        yield _conclusion(codes.finding(model, label), sentence, reached)


def _reached(findings: Findings, head: str, label: str) -> bool:
    return any(score.passed for score in findings.head(head) if score.label == label)


def _conclusion(value: Code, sentence: str, images: Sequence[ReadInstance]) -> hd.sr.CodeContentItem:
    item = hd.sr.CodeContentItem(codes.CONCLUSION, value, _CONTAINS)
    sources = (image_reference(instance.header) for instance in images)
    item.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.TextContentItem(codes.COMMENT, sentence, _PROPERTIES),
            *(
                hd.sr.ImageContentItem(
                    codes.SOURCE_IMAGE,
                    source.ReferencedSOPClassUID,
                    source.ReferencedSOPInstanceUID,
                    relationship_type=_INFERRED,
                )
                for source in sources
            ),
        ]
    )
    return item
