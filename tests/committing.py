"""Peers for storage commitment on pynetdicom: an archive that is as a test wishes, a modality that asks."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peers import StubbornArchive, eventually, free_port
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from demo.archive import _SOP_CLASSES, _TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pynetdicom.association import Association

__all__ = ["Asked", "AskingModality", "CommittingArchive", "Told", "information"]

PUSH_MODEL = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One N-ACTION: its transaction, its objects by SOP Instance UID, and the association that it came on."""

    transaction_uid: str
    objects: dict[str, str]
    association: Association


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One N-EVENT-REPORT: failures by SOP Instance UID."""

    event_type: int
    transaction_uid: str
    committed: tuple[str, ...]
    failed: dict[str, int]


def information(transaction_uid, objects, failed=()):
    """Action or event information; `failed` gives the Failure Reason by SOP Instance UID."""
    made = Dataset()
    made.TransactionUID = transaction_uid
    good, bad = [], []
    for instance, sop_class in objects.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        if instance in failed:
            item.FailureReason = failed[instance]
        (bad if instance in failed else good).append(item)
    if good:
        made.ReferencedSOPSequence = good
    if bad:
        made.FailedSOPSequence = bad
    return made


class CommittingArchive(StubbornArchive):
    """An archive that takes every request for commitment, and reports at once as `reports` says.

    Parameters
    ----------
    reports : str
        ``same`` association, ``new`` association, or ``never`` by itself: the test calls `report`.
    client : (AE title, port)
        Where it reports to.

    Attributes
    ----------
    status : int
        Answer to every C-STORE; 0x0000 keeps the instance.
    drops : bool
        Whether it closes the connection as soon as the first bytes of a data set come.
    action_status : int
        Answer to every N-ACTION.
    failure : int or None
        Failure Reason of every object that it is asked for.
    """

    def __init__(self, folder: Path, *, reports: str, client: tuple[str, int], **options: object) -> None:
        super().__init__(folder, status=0x0000, **options)
        self.drops = False
        self.reports = reports
        self.client = client
        self.action_status = 0x0000
        self.failure: int | None = None
        self.asked: list[Asked] = []
        self.answers: list[int | None] = []
        self._unanswered: dict[Association, Asked] = {}

    def start(self) -> None:
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        for sop_class in _SOP_CLASSES:
            ae.add_supported_context(sop_class, _TRANSFER_SYNTAXES)
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_PDU_RECV, self._received),
            (evt.EVT_PDU_SENT, self._sent),
        ]
        server = ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = server.socket.getsockname()[1]
        self._ae = ae

    def _action(self, event):
        asked = event.action_information
        request = Asked(
            transaction_uid=str(asked.TransactionUID),
            objects={
                str(item.ReferencedSOPInstanceUID): str(item.ReferencedSOPClassUID)
                for item in asked.ReferencedSOPSequence
            },
            association=event.assoc,
        )
        if not self.action_status:
            self._unanswered[event.assoc] = request
        self.asked.append(request)
        return self.action_status, None

    def _received(self, event):
        if self.drops and isinstance(event.pdu, P_DATA_TF):
            values = event.pdu.presentation_data_value_items
            # The last bit tells a command from a data set (PS3.8 E.2).
            if any(value.message_control_header_byte.endswith("0") for value in values):
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    def _sent(self, event):
        """Report after the answer to the request has left."""
        if isinstance(event.pdu, P_DATA_TF) and (request := self._unanswered.pop(event.assoc, None)):
            report = {"same": self._on_same, "new": self.report, "never": None}[self.reports]
            if report:
                threading.Thread(target=report, args=(request,), daemon=True).start()

    def _on_same(self, request):
        self._send(request.association, request, self._failures(request))

    def _failures(self, request):
        return dict.fromkeys(request.objects, self.failure) if self.failure else {}

    def report(self, request, failed=None, *, roles=True):
        """Open an association as the SCP of the service and report."""
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = [build_role(StorageCommitmentPushModel, scp_role=True)] if roles else []
        title, port = self.client

        def established():
            association = ae.associate("127.0.0.1", port, ae_title=title, ext_neg=role)
            return association if association.is_established else None

        # A gateway that starts asks before it listens.
        association = eventually(established, timeout=30)
        assert not roles or association.accepted_contexts[0].as_scp
        self._send(association, request, self._failures(request) if failed is None else failed)
        association.release()

    def _send(self, association, request, failed):
        event_type = 2 if failed else 1
        report = information(request.transaction_uid, request.objects, failed)
        status, _ = association.send_n_event_report(report, event_type, *PUSH_MODEL)
        self.answers.append(status.get("Status"))


class AskingModality:
    """A modality that listens for reports on `port`, once it is entered."""

    ae_title = "DX1"

    def __init__(self) -> None:
        self.port = free_port()
        self.told: list[Told] = []
        self.status = 0x0000

    def __enter__(self):
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._report)]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _report(self, event):
        report = event.event_information
        self.told.append(
            Told(
                event_type=event.event_type,
                transaction_uid=str(report.TransactionUID),
                committed=tuple(
                    str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", ())
                ),
                failed={
                    str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
                    for item in report.get("FailedSOPSequence", ())
                },
            )
        )
        return self.status, None

    @contextmanager
    def asking(self, port, called="CXRPACS") -> Iterator[Association]:
        """An association on which it can ask and be told."""
        ae = AE(ae_title=self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel, ImplicitVRLittleEndian)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._report)]
        association = ae.associate("127.0.0.1", port, ae_title=called, evt_handlers=handlers)
        assert association.is_established
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    @staticmethod
    def ask(association, objects, transaction_uid=None, *, action_type=1, instance=PUSH_MODEL[1]):
        """Send one N-ACTION; its transaction and the status."""
        uid = transaction_uid or str(generate_uid(prefix=None))
        status, _ = association.send_n_action(
            information(uid, objects), action_type, StorageCommitmentPushModel, instance
        )
        return uid, status.get("Status")

    def wait(self, count=1) -> list[Told]:
        """Wait until it was told `count` times."""
        return eventually(lambda: len(self.told) >= count and self.told, timeout=30)
