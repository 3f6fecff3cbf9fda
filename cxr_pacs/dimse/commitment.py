"""Storage Commitment service, Push Model (PS3.4 annex J), as SCU and as SCP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.errors import (
    DeliveryRefused,
    DestinationUnavailable,
    RefusedRequest,
    TransientError,
    kind_and_place,
)

__all__ = [
    "FAILURE_REASONS",
    "CommitmentReport",
    "CommitmentRequest",
    "ObjectReference",
    "commitment_context",
    "commitment_service",
    "report_commitment",
    "report_on",
    "requested_commitment",
]

logger = logging.getLogger(__name__)

# PS3.4 Tables J.3-1 and J.3-3.
REQUEST_STORAGE_COMMITMENT = 1
ALL_COMMITTED = 1
FAILURES_EXIST = 2
# PS3.7 10.1.1.1.8 and 10.1.4.1.10.
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMITATION = 0x0213
_ANSWER_SECONDS = 10.0
_PASSING = frozenset({PROCESSING_FAILURE, RESOURCE_LIMITATION})

FAILURE_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x0110: "processing failure",
        0x0112: "no such object instance",
        0x0119: "class / instance conflict",
        0x0122: "referenced SOP class not supported",
        0x0131: "duplicate transaction UID",
        0x0213: "resource limitation",
    }
)
"""Failure Reason (0008,1197) of an object, PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """An item of Referenced SOP Sequence (0008,1199)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """What an SCU asks for: the action information of PS3.4 Table J.3-2, and who it is."""

    calling_ae_title: str
    transaction_uid: str
    objects: tuple[ObjectReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What an SCP answers: the event information of PS3.4 Table J.3-4, with Failure Reasons."""

    transaction_uid: str
    committed: tuple[ObjectReference, ...]
    failed: Mapping[ObjectReference, int]


def commitment_context() -> PresentationContext:
    """Presentation context that is proposed, and accepted, for the service."""
    return build_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def commitment_service(
    on_request: Callable[[CommitmentRequest, Association], bool] | None,
    on_report: Callable[[CommitmentReport], bool],
) -> Service:
    """
    Take reports of archives, and requests of modalities.

    An archive reports on an association that it opens, as the SCP of the service; one that proposes no roles
    is understood all the same.

    Parameters
    ----------
    on_request : callable or None
        Makes the request durable before it is answered with 0x0000; the association may serve `report_on`.
        False where the transaction is another one already: answered 0x0115. TransientError is answered with
        0x0213. None refuses every request with 0x0124.
    on_report : callable
        Makes the report durable; False where it knows no such transaction, which is answered with 0x0115.

    References
    ----------
    PS3.4 J.3.2, J.3.3; PS3.7 D.3.3.4.
    """
    context = commitment_context()
    return Service(
        contexts=((str(context.abstract_syntax), tuple(map(str, context.transfer_syntax))),),
        handlers=(
            (evt.EVT_N_ACTION, _request_handler(on_request)),
            (evt.EVT_N_EVENT_REPORT, _report_handler(on_report)),
        ),
        both_roles=True,
    )


@contextmanager
def requested_commitment(
    peer: Peer, request: CommitmentRequest, on_report: Callable[[CommitmentReport], bool]
) -> Iterator[None]:
    """Ask `peer` for commitment; until the end of the context it may report on the same association.

    Raises
    ------
    DestinationUnavailable
        As `associate`; no answer; 0110 or 0213.
    DeliveryRefused
        As `associate`; any other failure status.
    """
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in request.objects]
    take_report = _report_handler(on_report)
    answered = threading.Event()
    answered.set()

    def on_n_event_report(event: evt.Event) -> tuple[int, None]:
        answered.clear()
        return take_report(event)

    handlers: list[tuple[Any, Callable[..., Any]]] = [
        (evt.EVT_N_EVENT_REPORT, on_n_event_report),
        (evt.EVT_PDU_SENT, lambda _: answered.set()),
    ]
    contexts = [commitment_context()]
    with associate(request.calling_ae_title, peer, contexts, handlers=handlers) as association:
        _send(association.send_n_action, association, information, REQUEST_STORAGE_COMMITMENT)
        try:
            yield
        finally:
            # The release must not overtake the answer to a report: pynetdicom does not wait for it.
            answered.wait(_ANSWER_SECONDS)


def report_commitment(calling_ae_title: str, peer: Peer, report: CommitmentReport) -> None:
    """Tell `peer`, which asked, on an association opened as the SCP; raises as the request does."""
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
    with associate(calling_ae_title, peer, [commitment_context()], roles=roles) as association:
        _send_report(association, report)


def report_on(association: Association, report: CommitmentReport) -> bool:
    """Tell the outcome on the association of the request; False when it is closed or does not answer."""
    if not association.is_established:
        return False
    try:
        _send_report(association, report)
    except (DestinationUnavailable, DeliveryRefused) as error:
        logger.warning("not reported on the association of the request: %s", error)
        return False
    return True


def _send_report(association: Association, report: CommitmentReport) -> None:
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    if report.committed:
        information.ReferencedSOPSequence = [_item(one) for one in report.committed]
    if report.failed:
        items = [(_item(one), reason) for one, reason in report.failed.items()]
        for item, reason in items:
            item.FailureReason = reason
        information.FailedSOPSequence = [item for item, _ in items]
    event_type = FAILURES_EXIST if report.failed else ALL_COMMITTED
    _send(association.send_n_event_report, association, information, event_type)


def _send(
    service: Callable[..., tuple[Dataset, Dataset | None]],
    association: Association,
    information: Dataset,
    kind: int,
) -> None:
    peer = f"{_title(association)} (storage commitment)"
    try:
        answer, _ = service(information, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    except (RuntimeError, ValueError) as error:  # the association ended meanwhile, or has no such context
        raise DestinationUnavailable(f"{peer} ended the association") from error
    status: int | None = answer.get("Status")
    if status is None:
        raise DestinationUnavailable(f"{peer} did not answer")
    if status in _PASSING:
        raise DestinationUnavailable(f"{peer} answered with status {status:04X}")
    if status != SUCCESS:
        raise DeliveryRefused(f"{peer} answered with status {status:04X}")


def _request_handler(
    on_request: Callable[[CommitmentRequest, Association], bool] | None,
) -> Callable[[evt.Event], tuple[int, None]]:
    def on_n_action(event: evt.Event) -> tuple[int, None]:
        request: Any = event.request
        if on_request is None:
            return NOT_AUTHORIZED, None
        if request.ActionTypeID != REQUEST_STORAGE_COMMITMENT:
            return NO_SUCH_ACTION, None
        if request.RequestedSOPInstanceUID != StorageCommitmentPushModelInstance:
            return NO_SUCH_INSTANCE, None
        return _answer(event, lambda: on_request(_request(event), event.assoc)), None

    return on_n_action


def _report_handler(
    on_report: Callable[[CommitmentReport], bool],
) -> Callable[[evt.Event], tuple[int, None]]:
    def on_n_event_report(event: evt.Event) -> tuple[int, None]:
        if event.event_type not in {ALL_COMMITTED, FAILURES_EXIST}:
            return NO_SUCH_EVENT_TYPE, None
        return _answer(event, lambda: on_report(_report(event))), None

    return on_n_event_report


def _answer(event: evt.Event, take: Callable[[], bool]) -> int:
    """Answer with a status; what was sent is not logged."""
    title = _title(event.assoc)
    try:
        if take():
            return SUCCESS
    except RefusedRequest as error:
        logger.warning("storage commitment from %s: %s", title, error)
        return INVALID_ARGUMENT_VALUE
    except TransientError as error:
        logger.error("storage commitment from %s: %s", title, error)  # noqa: TRY400  its text says it all
        return RESOURCE_LIMITATION
    except Exception as error:  # noqa: BLE001  top of a thread: the association goes on
        logger.error("storage commitment from %s: %s", title, kind_and_place(error))  # noqa: TRY400
        return PROCESSING_FAILURE
    logger.warning("storage commitment from %s: a transaction that is not known, or another one", title)
    return INVALID_ARGUMENT_VALUE


def _request(event: evt.Event) -> CommitmentRequest:
    transaction_uid, objects, _ = _parsed(lambda: event.action_information)
    if not objects:
        raise RefusedRequest("it names no object")
    return CommitmentRequest(
        calling_ae_title=_title(event.assoc), transaction_uid=transaction_uid, objects=tuple(objects)
    )


def _report(event: evt.Event) -> CommitmentReport:
    transaction_uid, committed, failed = _parsed(lambda: event.event_information)
    return CommitmentReport(transaction_uid=transaction_uid, committed=tuple(committed), failed=failed)


def _parsed(
    decode: Callable[[], Dataset],
) -> tuple[str, Mapping[ObjectReference, int], Mapping[ObjectReference, int]]:
    """Transaction UID, referenced objects and failed ones, each with its Failure Reason."""
    try:
        information = decode()
        return (
            _uid(information.TransactionUID),
            _references(information, "ReferencedSOPSequence"),
            _references(information, "FailedSOPSequence"),
        )
    except Exception as error:  # noqa: BLE001  pydicom parses lazily, and raises many kinds
        raise RefusedRequest(f"what it says cannot be parsed ({type(error).__name__})") from None


def _uid(value: object) -> str:
    if not 0 < len(str(value)) <= 64:
        raise ValueError("a UID has 1 to 64 characters")
    return str(value)


def _references(information: Dataset, keyword: str) -> Mapping[ObjectReference, int]:
    """Each object of the sequence with its Failure Reason, 0110 where it has none."""
    return {
        ObjectReference(
            sop_class_uid=_uid(item.ReferencedSOPClassUID),
            sop_instance_uid=_uid(item.ReferencedSOPInstanceUID),
        ): int(item.get("FailureReason") or PROCESSING_FAILURE)
        for item in information.get(keyword) or ()
    }


def _item(one: ObjectReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(one.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(one.sop_instance_uid)
    return item


def _title(association: Association) -> str:
    peer = association.acceptor if association.is_requestor else association.requestor
    return str(peer.ae_title)
