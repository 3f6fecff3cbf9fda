"""What a report concludes of a study as a whole: for each head that is claimed, what is reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import highdicom as hd
from pydicom.sr.coding import Code

from cxr_pacs.evidence import codes
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.inference.findings import Findings

__all__ = ["conclusions"]

_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS
_PROPERTIES: Final = hd.sr.RelationshipTypeValues.HAS_PROPERTIES
_INFERRED: Final = hd.sr.RelationshipTypeValues.INFERRED_FROM


def conclusions(read: Sequence[ReadInstance]) -> Iterator[hd.sr.CodeContentItem]:
    """Conclude from all images of a study (PS3.16 TID 1500 row 13), one head after the other.

    A head of which some class is claimed concludes each class that reached its threshold in some image;
    *Indeterminate* where none did, since a score below a threshold excludes nothing. *Not Evaluated* stands
    alone where nothing is claimed. Each conclusion holds a sentence, and the images that it comes from.
    """
    heads = dict.fromkeys(score.head for instance in read for score in instance.findings.scores)
    if not heads:
        sentence = "Nothing was evaluated: the model claims no class for this patient."
        yield _conclusion(codes.NOT_EVALUATED, sentence, read)
    for head in heads:
        yield from _of_head(head, [instance for instance in read if instance.findings.head(head)])


def _of_head(head: str, told: Sequence[ReadInstance]) -> Iterator[hd.sr.CodeContentItem]:
    model = told[0].findings.model
    labels = list(dict.fromkeys(score.label for instance in told for score in instance.findings.head(head)))
    images = {
        label: [instance for instance in told if _reached(instance.findings, head, label)] for label in labels
    }
    if not any(images.values()):
        names = codes.class_names(model, labels, "or")
        sentence = f"Head {head}: the certainty reaches the decision threshold for no claimed class: {names}."
        yield _conclusion(codes.INDETERMINATE, sentence, told)
    for label, reached in images.items():
        if reached:
            name = codes.coded_class(model, label).name
            count = "" if len(told) == 1 else f" in {len(reached)} of {len(told)} images"
            sentence = f"Head {head}: the certainty reaches the decision threshold for {name}{count}."
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
