"""What a report concludes of a study as a whole: for each head that is claimed, what is reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import highdicom as hd
from pydicom.sr.coding import Code

from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore

__all__ = ["concluded", "conclusions"]

_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS
_PROPERTIES: Final = hd.sr.RelationshipTypeValues.HAS_PROPERTIES
_INFERRED: Final = hd.sr.RelationshipTypeValues.INFERRED_FROM


def concluded(read: Sequence[ReadInstance]) -> list[tuple[ReadInstance, ClassScore]]:
    """Pick the scores from which something is concluded of the study, each with its image.

    Those that reached their threshold; but health only where the same head reached no disease, in whatever
    image, since thresholds are chosen class by class. A head that presumes disease concludes nothing where
    another head concludes health, in the same image or of the whole study.
    """
    ill = {s.head for instance in read for s in instance.findings.scores if s.passed and _is_disease(s)}
    everywhere = _refuted(read)
    return [
        (instance, score)
        for instance in read
        for score in instance.findings.scores
        if score.passed
        and (_is_disease(score) or score.head not in ill)
        and score.head not in everywhere | _refuted([instance])
    ]


def _refuted(read: Sequence[ReadInstance]) -> set[str]:
    """Name the heads that presume disease where, over the same images, another one concludes health."""
    passed = [score for instance in read for score in instance.findings.scores if score.passed]
    healthy = {s.head for s in passed if codes.is_health(s.label)} - {
        s.head for s in passed if _is_disease(s)
    }
    told = {score.head: instance.findings for instance in read for score in instance.findings.scores}
    return {
        head for head, findings in told.items() if healthy and codes.is_conditional(findings.labels(head))
    }


def _is_disease(score: ClassScore) -> bool:
    return codes.is_disease(score.label)


def conclusions(read: Sequence[ReadInstance], language: Language) -> Iterator[hd.sr.CodeContentItem]:
    """Conclude from all images of a study (PS3.16 TID 1500 row 13), one head after the other.

    A head of which some class is claimed concludes what `concluded` picks. *Indeterminate* where that is
    nothing: a score below a threshold excludes nothing, and a head that presumes disease says nothing where
    another one concludes health. *Not Evaluated* stands alone where nothing is claimed. Each conclusion holds
    a sentence, the condition of its head in it, and the images that it comes from.
    """
    heads = dict.fromkeys(score.head for instance in read for score in instance.findings.scores)
    if not heads:
        yield _conclusion(codes.NOT_EVALUATED, words.NOTHING_EVALUATED.say(language), read)
    picked = concluded(read)
    for head in heads:
        told = [instance for instance in read if instance.findings.head(head)]
        yield from _of_head(head, told, [(i, score) for i, score in picked if score.head == head], language)


def _of_head(
    head: str,
    told: Sequence[ReadInstance],
    picked: Sequence[tuple[ReadInstance, ClassScore]],
    language: Language,
) -> Iterator[hd.sr.CodeContentItem]:
    findings = told[0].findings
    conditional = codes.is_conditional(findings.labels(head))
    asked = words.HEAD_ASSUMING.say(language, head=head) if conditional else head
    scores = [score for instance in told for score in instance.findings.head(head)]
    labels = list(dict.fromkeys(score.label for score in scores))
    if not picked and any(score.passed for score in scores):
        yield _conclusion(codes.INDETERMINATE, words.HEAD_REFUTED.say(language, head=head), told)
    elif not picked:
        names = codes.class_names(findings.model, labels, words.OR, language)
        sentence = words.HEAD_REACHES_NONE.say(language, head=asked, names=names)
        yield _conclusion(codes.INDETERMINATE, sentence, told)
    for label in labels:
        if reached := [instance for instance, score in picked if score.label == label]:
            text = words.HEAD_REACHES if len(told) == 1 else words.HEAD_REACHES_IN_SOME
            name = codes.class_name(findings.model, label, language)
            sentence = text.say(language, head=asked, name=name, count=len(reached), total=len(told))
            yield _conclusion(codes.finding(findings.model, label), sentence, reached)


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
