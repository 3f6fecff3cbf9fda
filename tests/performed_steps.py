"""Performed procedure steps for tests: the attributes of a modality, and a pynetdicom SCP as second peer."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from peers import free_port
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    Verification,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AvailabilityManager",
    "ManagedSteps",
    "StepManager",
    "completion",
    "creation",
    "reference",
    "scheduled",
    "series",
]


def scheduled(study="1.2.3", *, accession="", step_id="", procedure_id=""):
    """An item of Scheduled Step Attributes Sequence; unscheduled unless more than the study is given."""
    item = Dataset()
    item.StudyInstanceUID = study
    item.ReferencedStudySequence = []
    item.AccessionNumber = accession
    item.RequestedProcedureID = procedure_id
    item.RequestedProcedureDescription = ""
    item.ScheduledProcedureStepID = step_id
    item.ScheduledProcedureStepDescription = ""
    item.ScheduledProtocolCodeSequence = []
    return item


def creation(*items, **attributes):
    """The attribute list of an N-CREATE, with `attributes` by keyword."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.ScheduledStepAttributesSequence = list(items) or [scheduled()]
    made.PatientName = "Möller^Ann"
    made.PatientID = "P1"
    made.PatientBirthDate = made.PatientSex = ""
    made.ReferencedPatientSequence = []
    made.PerformedProcedureStepID = "PPS1"
    made.PerformedStationAETitle = "CR1"
    made.PerformedStationName = made.PerformedLocation = ""
    made.PerformedProcedureStepStartDate = "20261124"
    made.PerformedProcedureStepStartTime = "080000"
    made.PerformedProcedureStepStatus = "IN PROGRESS"
    made.PerformedProcedureStepDescription = made.PerformedProcedureTypeDescription = ""
    made.ProcedureCodeSequence = []
    made.PerformedProcedureStepEndDate = made.PerformedProcedureStepEndTime = ""
    made.PerformedProcedureStepDiscontinuationReasonCodeSequence = []
    made.Modality = "CR"
    made.StudyID = ""
    made.PerformedProtocolCodeSequence = []
    made.PerformedSeriesSequence = []
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def reference(sop_instance_uid, sop_class_uid=ComputedRadiographyImageStorage):
    """An item that names an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def series(images: Iterable[str] = (), *, uid="1.2.3.1", other: Iterable[str] = ()):
    """An item of Performed Series Sequence, with images and other instances by their UID."""
    item = Dataset()
    item.PerformingPhysicianName = item.OperatorsName = item.SeriesDescription = item.RetrieveAETitle = ""
    item.ProtocolName = "CHEST"
    item.SeriesInstanceUID = uid
    item.ReferencedImageSequence = [reference(one) for one in images]
    item.ReferencedNonImageCompositeSOPInstanceSequence = [
        reference(one, "1.2.840.10008.5.1.4.1.1.88.67") for one in other
    ]
    return item


def completion(images: Iterable[str] = (), *, status="COMPLETED", **attributes):
    """The modification list of the last N-SET."""
    made = Dataset()
    made.PerformedProcedureStepStatus = status
    made.PerformedProcedureStepEndDate = "20261124"
    made.PerformedProcedureStepEndTime = "080500"
    made.PerformedSeriesSequence = [series(images)]
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    kind: str
    uid: str
    attributes: Dataset


@dataclass(slots=True)
class ManagedSteps:
    """What a manager was told, in order, and how each step stands there."""

    told: list[_Operation] = field(default_factory=list)
    steps: dict[str, Dataset] = field(default_factory=dict)

    def kinds(self, uid):
        """The operations on a step, each as its kind and the status that it set."""
        return [
            (one.kind, one.attributes.get("PerformedProcedureStepStatus", ""))
            for one in self.told
            if one.uid == uid
        ]


class StepManager:
    """An MPPS SCP on plain pynetdicom, with the state rules of the standard and answers as a test wishes.

    Parameters
    ----------
    port : int
        0 for a free one.
    """

    ae_title = "RIS"
    host = "127.0.0.1"

    def __init__(self, port=0):
        self.port = port or free_port()
        self.known = ManagedSteps()
        self.status = None  # of every answer, in place of the rules' own
        self.deaf = 0  # so many operations are taken, and the association aborted in place of an answer
        self._server = None

    def __enter__(self) -> Self:
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(Verification)
        ae.add_supported_context(ModalityPerformedProcedureStep)
        handlers = [(evt.EVT_N_CREATE, self._create), (evt.EVT_N_SET, self._set)]
        self._server = ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def _create(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if self.status is not None:
            return self.status, None
        if uid in self.known.steps:
            return 0x0111, None
        attributes = copy.deepcopy(event.attribute_list)
        self.known.steps[uid] = copy.deepcopy(attributes)
        self.known.told.append(_Operation(kind="N-CREATE", uid=uid, attributes=attributes))
        return self._answer(event)

    def _set(self, event):
        uid = str(event.request.RequestedSOPInstanceUID)
        if self.status is not None:
            return self.status, None
        if uid not in self.known.steps:
            return 0x0112, None
        step = self.known.steps[uid]
        if step.PerformedProcedureStepStatus != "IN PROGRESS":
            refusal = Dataset()
            refusal.Status, refusal.ErrorID = 0x0110, 0xA710
            return refusal, None
        modification = copy.deepcopy(event.modification_list)
        self.known.told.append(_Operation(kind="N-SET", uid=uid, attributes=modification))
        step.update(modification)
        return self._answer(event)

    def _answer(self, event):
        if self.deaf:
            self.deaf -= 1
            event.assoc.abort()
        return 0x0000, None


class AvailabilityManager:
    """An Instance Availability Notification SCP on plain pynetdicom.

    Parameters
    ----------
    port : int
        0 for a free one.
    """

    ae_title = "RIS"
    host = "127.0.0.1"

    def __init__(self, port=0):
        self.port = port or free_port()
        self.notified = {}  # attribute list by SOP Instance UID
        self.status = 0x0000
        self._server = None

    def __enter__(self) -> Self:
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(InstanceAvailabilityNotification)
        handlers = [(evt.EVT_N_CREATE, self._create)]
        self._server = ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def _create(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in self.notified:
            return 0x0111, None
        if self.status == 0:
            self.notified[uid] = copy.deepcopy(event.attribute_list)
        return self.status, None
