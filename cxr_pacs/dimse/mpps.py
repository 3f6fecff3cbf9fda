"""Modality Performed Procedure Step service (PS3.4 F.7), as SCP and as SCU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_SET
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    ModalityPerformedProcedureStep,
)

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.dimse.mpps_attributes import check_creation
from cxr_pacs.dimse.normalized import (
    DUPLICATE_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
    invoke,
)
from cxr_pacs.errors import RefusedOperation, TransientError, kind_and_place

__all__ = ["Steps", "create_step", "performed_step_context", "performed_step_service", "set_step"]

logger = logging.getLogger(__name__)

# PS3.7 annex C.
NO_SUCH_INSTANCE = 0x0112
# Value representation LO of Error Comment (0000,0902).
_LONGEST_COMMENT: Final = 64


class Steps(Protocol):
    """Where performed procedure steps are kept, durably before a method returns."""

    def create(self, sop_instance_uid: str, attributes: Dataset, calling_ae_title: str) -> bool:
        """Keep a new step; False where there is one of this UID already."""

    def change(self, sop_instance_uid: str, modification: Dataset) -> bool:
        """Set attributes of a step; False where there is none. RefusedOperation as `changed` of the rules."""


def performed_step_context() -> PresentationContext:
    """Presentation context that is proposed, and accepted, for the service."""
    return build_context(ModalityPerformedProcedureStep, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def performed_step_service(steps: Steps) -> Service:
    """
    Answer N-CREATE and N-SET of modalities.

    A modality that gives no SOP Instance UID, as it should (F.7.2.1.2), is given one (PS3.7 10.1.5.1.4).

    Parameters
    ----------
    steps : Steps
        Keeps a step before it is answered with 0x0000. TransientError is answered with 0x0213.

    References
    ----------
    PS3.4 F.7.2; PS3.7 10.1.3, 10.1.5.
    """
    context = performed_step_context()

    def on_n_create(event: evt.Event) -> tuple[Dataset, Dataset | None]:
        asked: Any = event.request
        given = asked.AffectedSOPInstanceUID
        uid = UID(given) if given else generate_uid(prefix=None)

        def create() -> int:
            attributes = _parsed(lambda: event.attribute_list)
            check_creation(attributes)
            return SUCCESS if steps.create(str(uid), attributes, _title(event)) else DUPLICATE_INSTANCE

        status = _answer(event, create)
        if given or status.Status != SUCCESS:
            return status, None
        made = Dataset()
        made.AffectedSOPInstanceUID = uid
        return status, made

    def on_n_set(event: evt.Event) -> tuple[Dataset, None]:
        asked: Any = event.request

        def change() -> int:
            modification = _parsed(lambda: event.modification_list)
            known = steps.change(str(asked.RequestedSOPInstanceUID), modification)
            return SUCCESS if known else NO_SUCH_INSTANCE

        return _answer(event, change), None

    return Service(
        contexts=((str(context.abstract_syntax), tuple(map(str, context.transfer_syntax))),),
        handlers=((evt.EVT_N_CREATE, on_n_create), (evt.EVT_N_SET, on_n_set)),
    )


def create_step(calling_ae_title: str, peer: Peer, sop_instance_uid: str, attributes: Dataset) -> int:
    """Create a performed procedure step at `peer` by N-CREATE.

    Parameters
    ----------
    calling_ae_title, peer
        Who calls whom.
    sop_instance_uid : str
        Of the step.
    attributes : Dataset
        All that PS3.4 Table F.7.2-1 asks for, with the status IN PROGRESS.

    Returns
    -------
    int
        The peer's status: 0x0000, or a warning, which means that the step was taken.

    Raises
    ------
    DestinationUnavailable
        As `associate`; no answer; 0110 or 0213.
    DeliveryRefused
        As `associate`: no presentation context was accepted.
    RefusedOperation
        Any other failure status.

    References
    ----------
    PS3.4 F.7.2.1.2.
    """
    with associate(calling_ae_title, peer, [performed_step_context()]) as association:
        return invoke(
            association.send_n_create,
            association,
            attributes,
            ModalityPerformedProcedureStep,
            sop_instance_uid,
        )


def set_step(calling_ae_title: str, peer: Peer, sop_instance_uid: str, modification: Dataset) -> int:
    """Set attributes of a performed procedure step at `peer` by N-SET; returns and raises as `create_step`.

    Where the step is final already, that is RefusedOperation with status 0110 and Error ID A710.

    References
    ----------
    PS3.4 F.7.2.2.2.
    """
    with associate(calling_ae_title, peer, [performed_step_context()]) as association:
        return invoke(
            association.send_n_set,
            association,
            modification,
            ModalityPerformedProcedureStep,
            sop_instance_uid,
        )


def _answer(event: evt.Event, act: Callable[[], int]) -> Dataset:
    """Act, and give the status; what was sent is not logged."""
    title, answer = _title(event), Dataset()
    try:
        answer.Status = act()
        if answer.Status != SUCCESS:
            logger.warning("performed procedure step from %s: answered with %04X", title, answer.Status)
    except RefusedOperation as error:
        logger.warning("performed procedure step from %s: %04X, %s", title, error.status, error)
        answer.Status = error.status
        answer.ErrorComment = str(error)[:_LONGEST_COMMENT]
        if error.error_id is not None:
            answer.ErrorID = error.error_id
        tags = [tag for keyword in error.attributes if (tag := tag_for_keyword(keyword)) is not None]
        if tags and isinstance(event.request, N_SET):  # the other response has no such field here
            answer.AttributeIdentifierList = tags
    except TransientError as error:
        logger.error("performed procedure step from %s: %s", title, error)  # noqa: TRY400  its text says it all
        answer.Status = RESOURCE_LIMITATION
    except Exception as error:  # noqa: BLE001  top of a thread: the association goes on
        where = kind_and_place(error)
        logger.error("performed procedure step from %s: %s", title, where)  # noqa: TRY400
        answer.Status = PROCESSING_FAILURE
    return answer


def _parsed(decode: Callable[[], Dataset]) -> Dataset:
    """Read the whole data set now: pydicom parses lazily."""
    try:
        dataset = decode()
        for element in dataset.iterall():
            _ = element.value
    except Exception as error:  # noqa: BLE001  pydicom raises many kinds for bytes that are not a data set
        raise RefusedOperation(
            f"the attributes cannot be parsed ({type(error).__name__})", status=PROCESSING_FAILURE
        ) from None
    return dataset


def _title(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title)
