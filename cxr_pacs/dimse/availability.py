"""Instance Availability Notification service (PS3.4 annex R), as SCU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
)

from cxr_pacs.dimse.associations import Peer, associate
from cxr_pacs.dimse.commitment import ObjectReference
from cxr_pacs.dimse.normalized import invoke

__all__ = ["Availability", "availability_context", "notify_availability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """What may be retrieved online.

    Attributes
    ----------
    study_instance_uid : str
    series : mapping
        By Series Instance UID, the instances of each.
    retrieve_ae_title : str
        From whom.
    performed_step_uid : str or None
        SOP Instance UID of the modality performed procedure step, where it is known.
    """

    study_instance_uid: str
    series: Mapping[str, Sequence[ObjectReference]]
    retrieve_ae_title: str
    performed_step_uid: str | None

    def attributes(self) -> Dataset:
        """Write the attribute list of PS3.4 Table R.3.2-1; it has no optional attribute."""
        made = Dataset()
        made.ReferencedPerformedProcedureStepSequence = []
        if self.performed_step_uid is not None:
            step = _reference(ModalityPerformedProcedureStep, self.performed_step_uid)
            step.PerformedWorkitemCodeSequence = []
            made.ReferencedPerformedProcedureStepSequence = [step]
        made.StudyInstanceUID = self.study_instance_uid
        made.ReferencedSeriesSequence = [self._series(uid, all_of) for uid, all_of in self.series.items()]
        return made

    def _series(self, uid: str, instances: Sequence[ObjectReference]) -> Dataset:
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [
            _reference(one.sop_class_uid, one.sop_instance_uid) for one in instances
        ]
        for item in series.ReferencedSOPSequence:
            item.InstanceAvailability = "ONLINE"
            item.RetrieveAETitle = self.retrieve_ae_title
        return series


def availability_context() -> PresentationContext:
    """Presentation context that is proposed."""
    return build_context(InstanceAvailabilityNotification, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def notify_availability(
    calling_ae_title: str, peer: Peer, sop_instance_uid: str, availability: Availability
) -> int:
    """Tell `peer` by N-CREATE; returns and raises as `create_step`.

    References
    ----------
    PS3.4 R.3.2.1.
    """
    with associate(calling_ae_title, peer, [availability_context()]) as association:
        return invoke(
            association.send_n_create,
            association,
            availability.attributes(),
            InstanceAvailabilityNotification,
            sop_instance_uid,
        )


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
