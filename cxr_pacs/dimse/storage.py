"""Storage service (PS3.4 annex B), as SCP and as SCU."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pydicom import Dataset, FileDataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.errors import (
    DeliveryRefused,
    DestinationUnavailable,
    RefusedInstance,
    SpoolFull,
    SpoolUnavailable,
    kind_and_place,
)

__all__ = [
    "OUT_OF_RESOURCES",
    "PASSING",
    "PROCESSING_FAILURE",
    "SUCCESS",
    "WARNINGS",
    "ReceivedInstance",
    "proposed_context",
    "storage_scp",
    "store",
    "store_as_received",
    "store_dataset",
]

logger = logging.getLogger(__name__)

# PS3.4 Table B.2-1.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
PROCESSING_FAILURE = 0x0110  # PS3.7 9.1.1.1.9
# PS3.7 C.5.13 and 9.1.1.1.9: they speak of the peer's state, and not of the object; ours answers so, too.
PASSING = frozenset({PROCESSING_FAILURE, 0x0213})
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})

# Some equipment never releases its association: what is remembered of one is bounded.
_MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One instance, as it came.

    Attributes
    ----------
    part10 : bytes
        Preamble, file meta and the data set byte for byte as sent.
    dataset : bytes
        The data set alone, in `transfer_syntax_uid`.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        From the command set and the presentation context; not checked.
    source : str
        Where it came from: the AE title of the peer, whoever opened the association.
    """

    part10: bytes
    dataset: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source: str


def storage_scp(
    sop_classes: Sequence[str],
    transfer_syntaxes: Sequence[str],
    receive: Callable[[ReceivedInstance], None],
    released: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> Service:
    """Storage SCP that answers 0x0000 only after `receive` returned.

    Parameters
    ----------
    sop_classes, transfer_syntaxes : sequences of UID
        Each class is negotiated with all the syntaxes.
    receive : callable
        Makes the instance durable. RefusedInstance is answered with its own status,
        SpoolUnavailable with 0xA700, anything unforeseen with 0x0110.
    released : callable
        Called when an association is released, with the SOP Instance UIDs that were kept of it: the last
        10,000 at most. An association that is aborted is not told.
    """
    kept: WeakKeyDictionary[Association, deque[str]] = WeakKeyDictionary()

    def on_c_store(event: evt.Event) -> int:
        request: Any = event.request
        instance = ReceivedInstance(
            part10=event.encoded_dataset(),
            dataset=request.DataSet.getvalue(),
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            source=_peer_title(event.assoc),
        )
        try:
            receive(instance)
            kept.setdefault(event.assoc, deque(maxlen=_MOST_KEPT)).append(instance.sop_instance_uid)
        except RefusedInstance as error:
            logger.warning("refused an instance from %s: %s", instance.source, error)
            return error.status
        except SpoolFull:  # the log says once when it begins and when it ends
            return OUT_OF_RESOURCES
        except SpoolUnavailable as error:
            logger.error(  # noqa: TRY400  a traceback could show patient identity
                "cannot keep an instance from %s: %s", instance.source, error
            )
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001  top of a thread: the association goes on
            where = kind_and_place(error)
            logger.error("cannot receive from %s: %s", instance.source, where)  # noqa: TRY400
            return PROCESSING_FAILURE
        return SUCCESS

    def on_release(event: evt.Event) -> None:
        if of_it := kept.pop(event.assoc, None):
            released(tuple(of_it))

    contexts = tuple((str(sop_class), tuple(map(str, transfer_syntaxes))) for sop_class in sop_classes)
    return Service(
        contexts=contexts, handlers=((evt.EVT_C_STORE, on_c_store), (evt.EVT_RELEASED, on_release))
    )


def _peer_title(association: Association) -> str:
    """AE title of the other side; in C-GET it is we who called."""
    peer = association.requestor if association.is_acceptor else association.acceptor
    return str(peer.ae_title)


def proposed_context(sop_class: str, transfer_syntax: str) -> PresentationContext:
    """Presentation context that `store` proposes for an object of `sop_class` kept in `transfer_syntax`."""
    syntax = UID(transfer_syntax)
    syntaxes: list[str | UID] = [syntax] if syntax.is_encapsulated else [syntax, ImplicitVRLittleEndian]
    return build_context(sop_class, syntaxes)


def store(calling_ae_title: str, peer: Peer, path: Path) -> int:
    """Send the file at `path` by C-STORE.

    Its own transfer syntax is proposed and, where that is native, the default one too (PS3.5 10.1).

    Returns
    -------
    int
        The peer's status: 0x0000, or a warning (B000, B006, B007), which means stored.

    Raises
    ------
    DestinationUnavailable
        As `associate`; no answer; A7xx (PS3.4 B.2.3); 0110 or 0213.
    DeliveryRefused
        As `associate`; any other failure status.
    """
    return store_dataset(calling_ae_title, peer, dcmread(path))


def store_dataset(calling_ae_title: str, peer: Peer, dataset: FileDataset) -> int:
    """Send `dataset`, in the transfer syntax of its file meta; returns and raises as `store`."""
    context = proposed_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    return _send(calling_ae_title, peer, context, dataset)


def store_as_received(calling_ae_title: str, peer: Peer, path: Path) -> int:
    """Send the data set of the file at `path`, byte for byte, in its own transfer syntax and no other.

    Returns and raises as `store`; a peer that does not take that syntax refuses the object.
    """
    meta = read_file_meta_info(path)
    context = build_context(meta.MediaStorageSOPClassUID, [meta.TransferSyntaxUID])
    return _send(calling_ae_title, peer, context, path)


def _send(calling_ae_title: str, peer: Peer, context: PresentationContext, what: Dataset | Path) -> int:
    kind = UID(context.abstract_syntax or "").name
    with associate(calling_ae_title, peer, [context]) as association:
        try:
            status: int | None = association.send_c_store(what).get("Status")
        except RuntimeError as error:  # pynetdicom's word for an association that ended meanwhile
            raise DestinationUnavailable(
                f"{peer} ended the association before the C-STORE of {kind}"
            ) from error
    if status is None:
        raise DestinationUnavailable(f"{peer} did not answer the C-STORE of {kind}")
    if status == SUCCESS:
        return status
    if status in WARNINGS:
        logger.warning("%s stored %s with warning %04X", peer, kind, status)
        return status
    sentence = f"{peer} answered the C-STORE of {kind} with status {status:04X}"
    if status & 0xFF00 == OUT_OF_RESOURCES or status in PASSING:
        raise DestinationUnavailable(sentence)
    raise DeliveryRefused(sentence)
