"""What a modality asks its worklist for, and what it takes of the answer (PS3.4 K.6.1.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom import Dataset

from cxr_pacs.dimse import Peer
from cxr_pacs.dimse.worklist import find_worklist
from cxr_pacs.errors import RetrievalRefused
from cxr_pacs.worklist import WorklistItem

__all__ = ["Wanted", "scheduled"]

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


def scheduled(calling_ae_title: str, peer: Peer, wanted: Wanted) -> tuple[WorklistItem, ...]:
    """
    Ask `peer` for what is wanted, in the order of the scheduled start.

    Raises
    ------
    DestinationUnavailable, RetrievalRefused
        As the query; or it is not the whole answer.
    RefusedItem
        An answer lacks what an image needs; the message names the attribute.
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
    return tuple(sorted(map(WorklistItem.of, found.items), key=lambda item: item.start))


def _ask(keys: Dataset, keyword: str) -> None:
    setattr(keys, keyword, [] if keyword.endswith("Sequence") else "")
