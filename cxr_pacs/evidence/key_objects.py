"""The images of a study in which a class reached its threshold, as a Key Object Selection (PS3.3 A.35.4).

So that a worklist or a hanging protocol can point at them. It refers to the source images, their heatmaps
and the report, and claims no more than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import highdicom as hd
from pydicom import Dataset, FileDataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import required_uid
from cxr_pacs.evidence.conclusion import concluded
from cxr_pacs.evidence.document import language_of_content, next_number, observer, separate
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
    orders_of,
    referenced_requests,
    references,
)
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore

__all__ = ["SERIES_NUMBER", "key_objects"]

SERIES_NUMBER: Final = 9005
SERIES_DESCRIPTION: Final = f"AI CXR key images - {DISCLAIMER}"

_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS


def key_objects(study: ReportedStudy, predecessors: Sequence[Dataset], stamp: Stamp) -> FileDataset | None:
    """Select the images from which a disease is concluded, as the report does.

    A class that is withheld has no score and selects nothing; neither does one that stands for health, or for
    all that is not the disease in question.

    Parameters
    ----------
    study : ReportedStudy
        Images, heatmaps and the report of them.
    predecessors : sequence of Dataset
        The selections that this one supersedes; it is numbered after them. (The object has no attribute to
        name them.)
    stamp : Stamp
        Pins UIDs and times: the same arguments give the same bytes.

    Returns
    -------
    FileDataset or None
        None where no class reached its threshold.

    Raises
    ------
    EvidenceError
        As `report`.

    References
    ----------
    PS3.3 C.17.6.1, C.17.6.2 (Key Object Document Series, Key Object Document); PS3.16 TID 2010, CID 7010.
    """
    picked = [(instance, score) for instance, score in concluded(study.read) if codes.is_disease(score.label)]
    selected = [instance for instance in study.read if any(instance is one for one, _ in picked)]
    if not picked:
        return None
    model = common_model(study.instances)
    headers = [instance.header for instance in selected]
    pictures = [picture for picture in study.heatmaps if _source(picture) in _uids(headers)]
    lead = headers[0]
    document = required_uid(study.document, "SOPInstanceUID")
    dataset = common_modules(
        lead,
        Output(
            sop_class_uid=KeyObjectSelectionDocumentStorage,
            sop_instance_uid=instance_uid(stamp, [document], model.digest, "key-objects"),
            series_instance_uid=series_uid(
                stamp, required_uid(lead, "StudyInstanceUID"), model.digest, "key-objects"
            ),
            modality="KO",
            series_description=SERIES_DESCRIPTION,
            series_number=SERIES_NUMBER,
            instance_number=next_number(predecessors),
        ),
        model,
        stamp,
    )
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = references([*headers, *pictures, study.document])
    if requests := referenced_requests(lead, orders_of(selected)):
        dataset.ReferencedRequestSequence = requests
    dataset.update(_content(picked, [*headers, *pictures], study, stamp.language))
    separate(dataset)
    settle_character_set(dataset, lead)
    return dataset


def _uids(headers: Sequence[Dataset]) -> set[str]:
    return {required_uid(header, "SOPInstanceUID") for header in headers}


def _source(picture: Dataset) -> str:
    return str(picture.SourceImageSequence[0].ReferencedSOPInstanceUID)


def _content(
    picked: Sequence[tuple[ReadInstance, ClassScore]],
    images: Sequence[Dataset],
    study: ReportedStudy,
    language: Language,
) -> hd.sr.ContainerContentItem:
    """Root container (TID 2010)."""
    root = hd.sr.ContainerContentItem(codes.OF_INTEREST, template_id="2010")
    document = study.document
    root.ContentSequence = hd.sr.ContentSequence(
        [
            # English is what a reader takes for granted
            *(() if language == "en" else language_of_content(language)),
            *observer(picked[0][0].findings.model),
            hd.sr.TextContentItem(codes.KEY_OBJECT_DESCRIPTION, _description(picked, language), _CONTAINS),
            *(
                hd.sr.ImageContentItem(
                    codes.SOURCE,
                    required_uid(image, "SOPClassUID"),
                    required_uid(image, "SOPInstanceUID"),
                    relationship_type=_CONTAINS,
                )
                for image in images
            ),
            hd.sr.CompositeContentItem(
                codes.SOURCE,
                document.SOPClassUID,
                document.SOPInstanceUID,
                relationship_type=_CONTAINS,
            ),
        ]
    )
    return root


def _description(picked: Sequence[tuple[ReadInstance, ClassScore]], language: Language) -> str:
    findings = {(score.head, score.label): instance.findings for instance, score in picked}
    reached = [
        words.SELECTED_CLASS.say(
            language,
            name=codes.class_name(found.model, label, language),
            head=head,
            question=codes.question(found.model, found.labels(head), language),
        )
        for (head, label), found in findings.items()
    ]
    selection = words.SELECTED.say(language, classes="; ".join(reached))
    return f"{words.DISCLAIMER.say(language)}. {selection}"
