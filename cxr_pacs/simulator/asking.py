"""What a modality asks its worklist for, and what it takes of the answer (PS3.4 K.6.1.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom import Dataset

from cxr_pacs.dimse import Peer
from cxr_pacs.dimse.worklist import find_worklist
from cxr_pacs.errors import RefusedItem, RetrievalRefused
from cxr_pacs.simulator.examination import Failure, Step
from cxr_pacs.worklist import WorklistItem

__all__ = ["Scheduled", "Wanted", "scheduled"]

# Return keys that an image or a performed procedure step is made of; all others stay with the worklist.
_KEYS: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "ReferencedStudySequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureID",
)
_KEYS_OF_STEP: Final = (
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
    "ScheduledProcedureStepID",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which items a modality asks for; what is empty asks for any.

    Attributes
    ----------
    station : str
        Scheduled Station AE Title.
    modality : str
        Such as ``DX``.
    days : str
        Scheduled start date, or a range of dates, as DA.
    """

    station: str = ""
    modality: str = ""
    days: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """What a worklist answered.

    Attributes
    ----------
    items : tuple of WorklistItem
        In the order of the scheduled start.
    failures : tuple of Failure
        One for each answer that lacks what an image needs; the reason names the attribute.
    """

    items: tuple[WorklistItem, ...]
    failures: tuple[Failure, ...]


def scheduled(calling_ae_title: str, peer: Peer, wanted: Wanted) -> Scheduled:
    """
    Ask `peer` for what is wanted.

    Raises
    ------
    DestinationUnavailable, RetrievalRefused
        As the query; or it is not the whole answer.
    """
    step = Dataset()
    for keyword in _KEYS_OF_STEP:
        _ask(step, keyword)
    step.ScheduledStationAETitle = wanted.station
    step.Modality = wanted.modality
    step.ScheduledProcedureStepStartDate = wanted.days
    keys = Dataset()
    for keyword in _KEYS:
        _ask(keys, keyword)
    keys.ScheduledProcedureStepSequence = [step]
    found = find_worklist(calling_ae_title, peer, keys, limit=0)
    if not found.complete:
        raise RetrievalRefused(
            f"{peer} answered with {len(found.items)} items and has more: ask by station, modality and date"
        )
    items: list[WorklistItem] = []
    failures: list[Failure] = []
    for answer in found.items:
        try:
            items.append(WorklistItem.of(answer))
        except RefusedItem as error:
            failures.append(
                Failure(
                    station_ae_title=calling_ae_title,
                    study_instance_uid=str(answer.get("StudyInstanceUID") or ""),
                    step=Step.WORKLIST,
                    reason=str(error),
                )
            )
    return Scheduled(items=tuple(sorted(items, key=lambda item: item.start)), failures=tuple(failures))


def _ask(keys: Dataset, keyword: str) -> None:
    setattr(keys, keyword, [] if keyword.endswith("Sequence") else "")
