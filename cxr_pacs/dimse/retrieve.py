"""Retrieve service (PS3.4 annex C), Study Root, as SCU: C-GET and C-MOVE."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.dimse.query import PENDING, SUCCESS, failure
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable

__all__ = ["SubOperations", "get", "get_contexts", "move", "move_contexts"]

# PS3.4 C.4.2.1.5 and C.4.3.1.4: some, or none, of the sub-operations succeeded.
INCOMPLETE = frozenset({0xA702, 0xB000})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOperations:
    """What the archive says of its C-STORE sub-operations in its last answer; None where it says nothing.

    Attributes
    ----------
    status : int
        0000, or B000 and A702 for a retrieval of which some or all failed.
    completed, warning, failed, remaining : int or None
    """

    status: int
    completed: int | None
    warning: int | None
    failed: int | None
    remaining: int | None


def get_contexts(storage: Service) -> tuple[PresentationContext, ...]:
    """Presentation contexts that `get` proposes.

    Each storage class and transfer syntax is a context of its own, so that the archive may send every image
    as it keeps it.
    """
    return (
        build_context(StudyRootQueryRetrieveInformationModelGet),
        *(
            build_context(sop_class, syntax)
            for sop_class, syntaxes in storage.contexts
            for syntax in syntaxes
        ),
    )


def move_contexts() -> tuple[PresentationContext, ...]:
    """Presentation contexts that `move` proposes."""
    return (build_context(StudyRootQueryRetrieveInformationModelMove),)


def get(
    calling_ae_title: str, peer: Peer, wanted: Dataset, storage: Service, patience: float
) -> SubOperations:
    """Retrieve by C-GET: what comes on the association goes to the handlers of `storage`.

    Parameters
    ----------
    calling_ae_title, peer
        Who calls whom.
    wanted : Dataset
        Identifier (PS3.4 C.4.3.1.3).
    storage : Service
        From `storage_scp`; its role is negotiated by role selection.
    patience : float
        Seconds without progress after which the association is aborted.

    Raises
    ------
    DestinationUnavailable
        As `associate`; no progress, an abort, out of resources (A701), cancelled, or our AE title is not
        known (A801).
    DeliveryRefused
        As `associate`; or the archive does not take part in C-GET.
    RetrievalRefused
        Any other failure status: that is the answer to what was asked for.
    """
    roles = [build_role(sop_class, scp_role=True) for sop_class, _ in storage.contexts]
    with associate(
        calling_ae_title, peer, get_contexts(storage), handlers=storage.handlers, roles=roles
    ) as association:
        accepted = association.accepted_contexts
        model = StudyRootQueryRetrieveInformationModelGet
        if not any(context.abstract_syntax == model for context in accepted) or not any(
            context.as_scp for context in accepted
        ):
            raise DeliveryRefused(f'{peer} does not offer C-GET: set method = "move"')
        return _follow(peer, "C-GET", association, lambda: association.send_c_get(wanted, model), patience)


def move(
    calling_ae_title: str, peer: Peer, wanted: Dataset, destination: str, patience: float
) -> SubOperations:
    """Let `peer` send what is `wanted` to the AE title `destination` by C-MOVE; otherwise as `get`."""
    model = StudyRootQueryRetrieveInformationModelMove
    with associate(calling_ae_title, peer, move_contexts()) as association:
        return _follow(
            peer,
            "C-MOVE",
            association,
            lambda: association.send_c_move(wanted, destination, model),
            patience,
        )


def _follow(
    peer: Peer,
    verb: str,
    association: Association,
    send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]],
    patience: float,
) -> SubOperations:
    """Ask, and follow the answers to the last one."""
    association.dimse_timeout = patience
    try:
        answers = send()
    except RuntimeError as error:  # pynetdicom's word for an association that ended meanwhile
        raise DestinationUnavailable(f"{peer} ended the association before the {verb}") from error
    progress, moved_at = None, time.monotonic()
    for answer, _ in answers:
        status = answer.get("Status")
        if status == SUCCESS or status in INCOMPLETE:
            return _sub_operations(answer)
        if status not in PENDING:
            raise failure(peer, f"the {verb}", status)
        if (now := _sub_operations(answer)) != progress:
            progress, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > patience:
            association.abort()
            raise DestinationUnavailable(f"{peer} made no progress with the {verb} in {patience:g} s")
    raise failure(peer, f"the {verb}", None)


def _sub_operations(answer: Dataset) -> SubOperations:
    return SubOperations(
        status=answer.Status,
        completed=answer.get("NumberOfCompletedSuboperations"),
        warning=answer.get("NumberOfWarningSuboperations"),
        failed=answer.get("NumberOfFailedSuboperations"),
        remaining=answer.get("NumberOfRemainingSuboperations"),
    )
