"""Application entities: who listens, who is called, and what an association may propose."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, SOPClassExtendedNegotiation
from pynetdicom.presentation import PresentationContext

from cxr_pacs.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

__all__ = ["Listener", "LocalEntity", "Peer", "RefusedContext", "Service", "associate"]

logger = logging.getLogger(__name__)

# 128 kB was the fastest PDU that every peer took; 1 MB and above, and 0 (unlimited), were far slower.
MAXIMUM_PDU = 131072
CONNECT_SECONDS = 10.0
ACSE_SECONDS = 30.0
DIMSE_SECONDS = 60.0
NETWORK_SECONDS = 60.0

# pynetdicom would write identifiers, which hold patient identity, to its log.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
# A file that is sent by its path goes as it lies on the disk; a data set is encoded as before.
_config.STORE_SEND_CHUNKED_DATASET = True


def _set_any_context_id(context: PresentationContext, value: int | None) -> None:
    context._context_id = value  # noqa: SLF001


# dcm4che's stgcmtscu (5.34.1 and before) proposes the context 2, where PS3.8 9.3.2.2 has odd numbers only.
# It is harmless; pynetdicom would break the association off.
PresentationContext.context_id = property(  # type: ignore[assignment,method-assign]
    lambda context: context._context_id,  # noqa: SLF001
    _set_any_context_id,
)

# Where we stop while a peer asks for nothing (Sta2), or was rejected and does not close (Sta13), its
# connection is closed. PS3.8 9.2.3 has no abort there; pynetdicom would end its thread with an error.
TRANSITION_TABLE["Evt15", "Sta2"] = TRANSITION_TABLE["Evt15", "Sta13"] = "AA-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEntity:
    """Our own application entity.

    Attributes
    ----------
    ae_title : str
        Title that a peer must call.
    host, port : str, int
        Address to listen on.
    calling_ae_titles : tuple of str
        Titles that may call; empty means any.
    max_associations : int
        Associations served at once.
    """

    ae_title: str
    host: str
    port: int
    calling_ae_titles: tuple[str, ...] = ()
    max_associations: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A remote application entity that we call."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        """``TITLE@host:port``."""
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedContext:
    """A SOP class that a peer proposed and that was accepted in no presentation context.

    Attributes
    ----------
    calling_ae_title, abstract_syntax : str
        Who proposed what; not checked.
    class_is_read : bool
        Whether only the transfer syntaxes were not acceptable (PS3.8 Table 9-18, result 4).
    """

    calling_ae_title: str
    abstract_syntax: str
    class_is_read: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service as an SCP: what it negotiates and the handlers that answer.

    Attributes
    ----------
    contexts : tuple of (abstract syntax UID, transfer syntax UIDs)
    handlers : tuple of (pynetdicom event, callable)
    both_roles : bool
        Whether a peer may propose to be the SCP, so that it calls us as the SCU (PS3.7 D.3.3.4).
    """

    contexts: tuple[tuple[str, tuple[str, ...]], ...]
    handlers: tuple[tuple[Any, Callable[..., Any]], ...]
    both_roles: bool = False


class Listener:
    """The SCP side: accepts associations and serves `services` until stopped.

    Parameters
    ----------
    local : LocalEntity
        Title and address. A peer that calls another title is rejected (PS3.8 9.3.4, reason 7).
    services : sequence of Service
        What is negotiated; everything else is refused as "abstract syntax not supported".
    on_refused_contexts : callable
        Called once for an association with every proposed SOP class that was not accepted, if there is one.
    """

    def __init__(
        self,
        local: LocalEntity,
        services: Sequence[Service],
        on_refused_contexts: Callable[[Sequence[RefusedContext]], None],
    ) -> None:
        self._local = local
        self._on_refused_contexts = on_refused_contexts
        self._ae = AE(ae_title=local.ae_title)
        self._ae.require_called_aet = True
        self._ae.require_calling_aet = list(local.calling_ae_titles)
        self._ae.maximum_associations = local.max_associations
        self._ae.maximum_pdu_size = MAXIMUM_PDU
        self._ae.acse_timeout = ACSE_SECONDS
        self._ae.dimse_timeout = DIMSE_SECONDS
        self._ae.network_timeout = NETWORK_SECONDS
        self._handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, _send_at_once),
            (evt.EVT_CONN_OPEN, _wait_in_vain_no_longer),
            (evt.EVT_ACCEPTED, self._report_refused_contexts),
            (evt.EVT_REJECTED, self._report_rejection),
        ]
        for service in services:
            self._handlers += service.handlers
            # None: a proposal of roles is not answered, and so the default ones hold.
            role = True if service.both_roles else None
            for abstract_syntax, transfer_syntaxes in service.contexts:
                self._ae.add_supported_context(abstract_syntax, list(transfer_syntaxes), role, role)
        self._server: Any = None

    def start(self) -> None:
        """Listen; ConfigurationError when the address cannot be had."""
        address = (self._local.host, self._local.port)
        try:
            self._server = self._ae.start_server(address, block=False, evt_handlers=self._handlers)
        except OSError as error:
            raise ConfigurationError(
                f"dicom.host and dicom.port: cannot listen on {address[0]}:{address[1]}: {error.strerror}"
            ) from error

    def stop(self, grace: float) -> None:
        """Accept nothing more, give open associations `grace` seconds to end, then abort them."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + grace
        for association in self._ae.active_associations:
            association.join(max(0.0, deadline - time.monotonic()))
        self._ae.shutdown()
        self._server = None

    def _report_refused_contexts(self, event: evt.Event) -> None:
        accepted = {context.abstract_syntax for context in event.assoc.accepted_contexts}
        refused = {
            context.abstract_syntax: context.result
            for context in event.assoc.rejected_contexts
            if context.abstract_syntax not in accepted
        }
        if refused:
            title = str(event.assoc.requestor.ae_title)
            self._on_refused_contexts(
                [
                    RefusedContext(
                        calling_ae_title=title, abstract_syntax=str(syntax), class_is_read=result == 4
                    )
                    for syntax, result in refused.items()
                ]
            )

    def _report_rejection(self, event: evt.Event) -> None:
        requestor, answer = event.assoc.requestor, event.assoc.acceptor.primitive
        asked = requestor.primitive
        logger.warning(
            "association from %s at %s, calling %s, rejected: %s",
            requestor.ae_title,
            requestor.address,
            "nothing" if asked is None else asked.called_ae_title,
            "no reason given" if answer is None else answer.reason_str,
        )


@contextmanager
def associate(
    calling_ae_title: str,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    extended: Sequence[SOPClassExtendedNegotiation] = (),
) -> Iterator[Association]:
    """Open an association, by default as SCU; release it at the end.

    Parameters
    ----------
    calling_ae_title, peer, contexts
        Who calls whom, and what is proposed.
    handlers : sequence of (pynetdicom event, callable)
        Answer what the peer asks on this association.
    roles : sequence of SCP_SCU_RoleSelectionNegotiation
        SOP classes in which we are, on this association, the SCP (PS3.7 D.3.3.4).
    extended : sequence of SOPClassExtendedNegotiation
        What is proposed of a SOP class beyond its syntaxes (PS3.7 D.3.3.5).

    Raises
    ------
    DestinationUnavailable
        No connection, an abort, or a rejected association, be it "permanent" (PS3.8 9.3.4): that says nothing
        of an object, only that one of the two sides does not know an AE title yet, which is mended any day.
    DeliveryRefused
        The peer accepted no presentation context.
    """
    ae = AE(ae_title=calling_ae_title)
    ae.connection_timeout = CONNECT_SECONDS
    ae.acse_timeout = ACSE_SECONDS
    ae.dimse_timeout = DIMSE_SECONDS
    ae.network_timeout = NETWORK_SECONDS
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        max_pdu=MAXIMUM_PDU,
        ext_neg=[*roles, *extended],
        evt_handlers=[
            (evt.EVT_CONN_OPEN, _send_at_once),
            (evt.EVT_CONN_OPEN, _wait_in_vain_no_longer),
            *handlers,
        ],
    )
    if not association.is_established:
        raise _why_not(association, peer)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _send_at_once(event: evt.Event) -> None:
    # Command and data set are two short writes: Nagle's algorithm would hold the second one back until the
    # peer acknowledges the first, which it does 40 ms later.
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _wait_in_vain_no_longer(event: evt.Event) -> None:
    # pynetdicom's time-outs end neither a send to a peer that has stopped reading, nor the reading of a PDU
    # that does not go on: its thread would be held, and the association with it, for ever.
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.settimeout(event.assoc.network_timeout)


def _why_not(association: Association, peer: Peer) -> DestinationUnavailable | DeliveryRefused:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return DestinationUnavailable(f"{peer} rejected the association: {answer.reason_str}")
    if association.rejected_contexts:
        names = ", ".join(sorted({_described(context) for context in association.rejected_contexts}))
        return DeliveryRefused(f"{peer} accepts no presentation context for {names}")
    return DestinationUnavailable(f"{peer} could not be reached: no connection or no answer")


def _described(context: PresentationContext) -> str:
    syntaxes = " or ".join(UID(syntax).name for syntax in context.transfer_syntax)
    return f"{UID(context.abstract_syntax or '').name} in {syntaxes}"
