"""A hospital as one application entity, by pynetdicom alone: worklist, steps, archive, commitment."""

from __future__ import annotations

import threading
from collections import Counter

from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, build_role, evt
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)


class Hospital:
    """Answers as asked; `refuse` has a status for what is to fail ("find", "create", "store", "ask", "set").

    Parameters
    ----------
    items : sequence of Dataset
        Each one worklist item; matched by station and modality.
    told_at : mapping of AE title to port
        Where reports on commitment go on an association of their own; others are told on the request's.
    """

    ae_title = "HOSPITAL"

    def __init__(self, items, told_at=None):
        self.items = list(items)
        self.told_at = told_at or {}
        self.refuse = {}
        self.stored, self.steps, self.calls = [], {}, Counter()
        self.answers = []
        self.silent = False
        self.failure_reason = None
        self._most_at_once, self._at_once, self._lock = 0, 0, threading.Lock()
        self._reporting = []

    def __enter__(self):
        ae = AE(self.ae_title)
        ae.maximum_associations = 100
        ae.add_supported_context(ModalityWorklistInformationFind)
        ae.add_supported_context(ModalityPerformedProcedureStep)
        ae.add_supported_context(StorageCommitmentPushModel)
        for image in (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation):
            ae.add_supported_context(image, ALL_TRANSFER_SYNTAXES)
        handlers = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._ask),
        ]
        self._ae = ae
        self.port = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers).server_address[1]
        return self

    def __exit__(self, *_):
        for thread in self._reporting:
            thread.join(20)
        self._ae.shutdown()

    @property
    def most_at_once(self):
        """So many examinations were in progress at the same time at most."""
        return self._most_at_once

    def _status(self, what, event):
        self.calls[what, event.assoc.requestor.ae_title] += 1
        return self.refuse.get(what, 0x0000)

    def _find(self, event):
        if status := self._status("find", event):
            yield status, None
            return
        asked = event.identifier.ScheduledProcedureStepSequence[0]
        for item in self.items:
            step = item.ScheduledProcedureStepSequence[0]
            if all(
                asked.get(keyword) in (None, "", step.get(keyword))
                for keyword in ("ScheduledStationAETitle", "Modality", "ScheduledProcedureStepStartDate")
            ):
                yield 0xFF00, item
        yield 0x0000, None

    def _create(self, event):
        with self._lock:
            self._at_once += 1
            self._most_at_once = max(self._most_at_once, self._at_once)
        self.steps[event.request.AffectedSOPInstanceUID] = event.attribute_list
        return self._status("create", event), event.attribute_list

    def _set(self, event):
        with self._lock:
            self._at_once -= 1
        self.steps[event.request.RequestedSOPInstanceUID].update(event.modification_list)
        return self._status("set", event), event.modification_list

    def _store(self, event):
        stored = event.dataset
        stored.file_meta = event.file_meta
        self.stored.append(stored)
        return self._status("store", event)

    def _ask(self, event):
        if not self.silent:
            report, title = self._report(event.action_information), event.assoc.requestor.ae_title
            tell = self._tell_later if title in self.told_at else self._tell_here
            thread = threading.Thread(target=tell, args=(event.assoc, title, report))
            self._reporting.append(thread)
            thread.start()
        return self._status("ask", event), None

    def _report(self, asked):
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        if self.failure_reason is None:
            report.ReferencedSOPSequence = asked.ReferencedSOPSequence
            return 1, report
        report.FailedSOPSequence = asked.ReferencedSOPSequence
        for item in report.FailedSOPSequence:
            item.FailureReason = self.failure_reason
        return 2, report

    def _tell_here(self, association, _, report):
        self._send(association, report)

    def _tell_later(self, _, title, report):
        ae = AE(self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        port = self.told_at[title]
        association = ae.associate("127.0.0.1", port, ae_title=title, ext_neg=[role])
        assert association.is_established
        self._send(association, report)
        association.release()

    def _send(self, association, report):
        event_type, information = report
        status, _ = association.send_n_event_report(
            information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.answers.append(status.get("Status"))
