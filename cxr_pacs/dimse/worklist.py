"""Modality Worklist (PS3.4 annex K): the query, as SCP and as SCU."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.pdu_primitives import P_DATA, SOPClassExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.dimse.query import CANCEL, OUT_OF_RESOURCES, PENDING, SUCCESS, failure
from cxr_pacs.errors import DestinationUnavailable, RefusedQuery, RetrievalRefused, kind_and_place

__all__ = ["AskedWorklist", "FoundWorklist", "WorklistAnswers", "find_worklist", "worklist_scp"]

logger = logging.getLogger(__name__)

SOP_CLASS: Final = str(ModalityWorklistInformationFind)
TRANSFER_SYNTAXES: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
ALL_SUPPORTED: Final = 0xFF00
NOT_ALL_SUPPORTED: Final = 0xFF01
CANNOT_PROCESS: Final = 0xC000
_LONGEST_COMMENT: Final = 64

# Service-class-application-information (PS3.4 K.5): two fields that are always 1, then fuzzy matching.
_FUZZY: Final = b"\x01\x01\x01"

# Answers that may wait to be sent; while any does, the association's thread reads nothing, so no C-CANCEL.
_AHEAD: Final = 16
_DRAIN_SECONDS: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWorklist:
    """A C-FIND request.

    Attributes
    ----------
    identifier : Dataset
    fuzzy : bool
        Whether fuzzy matching of names was negotiated.
    explicit : bool
        Whether answers go out in Explicit VR Little Endian, else in Implicit.
    """

    identifier: Dataset
    fuzzy: bool
    explicit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWorklist:
    """What is found: encoded answers, and whether all keys were supported (else FF01)."""

    answers: Iterator[bytes]
    all_supported: bool


def worklist_scp(find: Callable[[AskedWorklist], FoundWorklist], most_answers: int) -> Service:
    """Answer worklist queries.

    Parameters
    ----------
    find : callable
        May raise RefusedQuery, whose status and sentence are the answer.
    most_answers : int
        After so many the query ends with A700; 0 sets no limit.
    """
    return Service(
        contexts=((SOP_CLASS, TRANSFER_SYNTAXES),),
        handlers=(
            (evt.EVT_C_FIND, lambda event: _answer(event, find, most_answers)),
            (evt.EVT_SOP_EXTENDED, _negotiate),
        ),
    )


def _negotiate(event: evt.Event) -> dict[str, bytes]:
    offered: bytes | None = event.app_info.get(SOP_CLASS)  # type: ignore[attr-defined]  # of this event
    return {} if offered is None else {SOP_CLASS: bytes(offered[:3])}


def _answer(
    event: evt.Event, find: Callable[[AskedWorklist], FoundWorklist], most_answers: int
) -> Iterator[tuple[Dataset | int, None]]:
    caller = event.assoc.requestor.ae_title
    try:
        sent = 0
        found = find(_asked(event))
        sender = _Sender(event, ALL_SUPPORTED if found.all_supported else NOT_ALL_SUPPORTED)
        for answer in found.answers:
            if event.is_cancelled:
                logger.info("worklist query of %s cancelled after %d answers", caller, sent)
                yield CANCEL, None
                return
            if most_answers and sent == most_answers:
                logger.warning("worklist query of %s matches more than %d items", caller, most_answers)
                yield _status(OUT_OF_RESOURCES, f"more than {most_answers} items match: ask for fewer"), None
                return
            if not sender.send(answer):
                logger.warning("%s went away during its worklist query, after %d answers", caller, sent)
                return
            sent += 1
        logger.info("worklist query of %s: %d answers", caller, sent)
    except RefusedQuery as error:
        logger.warning("worklist query of %s refused: %s", caller, error)
        yield _status(error.status, str(error), error.tag), None
    except Exception as error:  # noqa: BLE001  the top of an association's thread
        logger.error("worklist query of %s failed: %s", caller, kind_and_place(error))  # noqa: TRY400
        yield _status(CANNOT_PROCESS, "an error that was not foreseen"), None


def _asked(event: evt.Event) -> AskedWorklist:
    offered = event.assoc.requestor.sop_class_extended.get(UID(SOP_CLASS), b"")
    return AskedWorklist(
        identifier=event.identifier,
        fuzzy=offered[2:3] == b"\x01",
        explicit=event.context.transfer_syntax == ExplicitVRLittleEndian,
    )


def _status(status: int, comment: str, tag: int | None = None) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if tag is not None:
        answer.OffendingElement = tag
    answer.ErrorComment = comment[:_LONGEST_COMMENT]
    return answer


class _Sender:
    """Sends pending answers of one request, each as one PDU of command and data set.

    pynetdicom would encode each command set twice and each data set from its elements, which takes ten times
    as long, and would queue answers without end for a peer that reads slowly.
    """

    def __init__(self, event: evt.Event, status: int) -> None:
        self._association = event.assoc
        self._context_id = event.context.context_id
        uid = SOP_CLASS.encode()
        uid += b"\0" * (len(uid) % 2)
        elements = b"".join(
            struct.pack("<HHL", 0, element, len(value)) + value
            for element, value in (
                (0x0002, uid),
                (0x0100, struct.pack("<H", 0x8020)),
                (0x0120, struct.pack("<H", event.request.MessageID)),
                (0x0800, struct.pack("<H", 0x0001)),
                (0x0900, struct.pack("<H", status)),
            )
        )
        self._command = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements

    def send(self, data_set: bytes) -> bool:
        """Queue one answer, when there is room; False where the peer is gone or reads no longer."""
        most = self._association.dimse.maximum_pdu_size
        whole = [(self._context_id, b"\x03" + self._command), (self._context_id, b"\x02" + data_set)]
        if not most or sum(len(value) + 5 for _, value in whole) <= most:
            self._queue(whole)
        else:
            self._queue(whole[:1])
            step = most - 6
            for first in range(0, len(data_set), step):
                last = b"\x02" if first + step >= len(data_set) else b"\x00"
                self._queue([(self._context_id, last + data_set[first : first + step])])
        # The association itself learns of its end only when this thread is back.
        provider = self._association.dul
        if provider.to_provider_queue.qsize() >= _AHEAD:
            while provider.to_provider_queue.qsize() and provider.is_alive():
                time.sleep(_DRAIN_SECONDS)
        return bool(provider.is_alive())

    def _queue(self, values: list[tuple[int, bytes]]) -> None:
        fragments = P_DATA()
        fragments.presentation_data_value_list.extend(values)
        self._association.dul.send_pdu(fragments)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistAnswers:
    """What a worklist answered.

    Attributes
    ----------
    items : tuple of Dataset
    complete : bool
        Whether it said that these are all: neither did we stop it, nor did it reach a limit of its own.
    all_supported : bool
        Whether it knew every key (else FF01).
    """

    items: tuple[Dataset, ...]
    complete: bool
    all_supported: bool


def worklist_contexts() -> tuple[PresentationContext, ...]:
    """Presentation contexts that `find_worklist` proposes."""
    return (build_context(SOP_CLASS, list(TRANSFER_SYNTAXES)),)


def find_worklist(
    calling_ae_title: str, peer: Peer, identifier: Dataset, *, limit: int, fuzzy: bool = False
) -> WorklistAnswers:
    """Ask a worklist, on an association of its own.

    Parameters
    ----------
    calling_ae_title, peer, identifier
        Who asks whom for what; `identifier` has one item in Scheduled Procedure Step Sequence.
    limit : int
        After so many answers the query is cancelled, and no further one is taken; 0 sets no limit.
    fuzzy : bool
        Propose fuzzy matching of person names (PS3.4 K.5). Whether the peer agrees changes nothing else.

    Raises
    ------
    DestinationUnavailable
        As `associate`; no answer in time, an abort, or out of resources (A7xx) without any answer.
    DeliveryRefused
        As `associate`.
    RetrievalRefused
        Any other failure (A900, Cxxx); an answer that cannot be read.
    """
    negotiation = [_fuzzy_matching()] if fuzzy else []
    with associate(calling_ae_title, peer, worklist_contexts(), extended=negotiation) as association:
        what = "the worklist query"
        items: list[Dataset] = []
        unsupported = False
        try:
            answers = association.send_c_find(identifier, SOP_CLASS)
        except RuntimeError as error:  # pynetdicom's word for an association that ended meanwhile
            raise DestinationUnavailable(f"{peer} ended the association before {what}") from error
        for status, item in answers:
            code = status.get("Status")
            if code in PENDING:
                if item is None:
                    association.abort()
                    raise RetrievalRefused(f"{peer} answered {what} with an item that cannot be read")
                unsupported = unsupported or code == NOT_ALL_SUPPORTED
                if limit and len(items) == limit:
                    continue
                items.append(item)
                if len(items) == limit:
                    association.send_c_cancel(1, query_model=SOP_CLASS)
            elif code == SUCCESS or (items and _is_partial(code)):
                # That all were answered before the cancel came tells nothing of whether there are more.
                complete = code == SUCCESS and (not limit or len(items) < limit)
                return WorklistAnswers(items=tuple(items), complete=complete, all_supported=not unsupported)
            else:
                raise failure(peer, what, code)
        raise failure(peer, what, None)


def _is_partial(status: int | None) -> bool:
    return status is not None and (status == CANCEL or status & 0xFF00 == OUT_OF_RESOURCES)


def _fuzzy_matching() -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = SOP_CLASS
    item.service_class_application_information = _FUZZY
    return item
