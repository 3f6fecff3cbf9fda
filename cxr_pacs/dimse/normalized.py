"""Operations on normalized objects as SCU: what N-CREATE and N-SET have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association

from cxr_pacs.errors import DestinationUnavailable, RefusedOperation

__all__ = ["DUPLICATE_INSTANCE", "PROCESSING_FAILURE", "RESOURCE_LIMITATION", "SUCCESS", "invoke"]

logger = logging.getLogger(__name__)

# PS3.7 annex C.
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_INSTANCE: Final = 0x0111
RESOURCE_LIMITATION: Final = 0x0213
# Attributes that the SCP does not keep, attribute list error, value out of range: the object was taken.
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_PASSING: Final = frozenset({PROCESSING_FAILURE, RESOURCE_LIMITATION})


def invoke(
    operation: Callable[..., tuple[Dataset, Dataset | None]],
    association: Association,
    attributes: Dataset,
    sop_class_uid: str,
    sop_instance_uid: str,
) -> int:
    """Invoke an operation of `association` on an object.

    Returns
    -------
    int
        The peer's status: 0x0000, or a warning, which means that the object was taken.

    Raises
    ------
    DestinationUnavailable
        No answer; 0213, or 0110 without an Error ID.
    RefusedOperation
        Any other failure status.
    """
    peer = f"{association.acceptor.ae_title} ({UID(sop_class_uid).name})"
    try:
        answer, _ = operation(attributes, sop_class_uid, sop_instance_uid)
    except (RuntimeError, ValueError) as error:  # the association ended meanwhile, or has no such context
        raise DestinationUnavailable(f"{peer} ended the association") from error
    status: int | None = answer.get("Status")
    if status is None:
        raise DestinationUnavailable(f"{peer} did not answer")
    if status in _WARNINGS:
        logger.warning("%s answered with warning %04X", peer, status)
    elif status != SUCCESS:
        # Its Error Comment is not told: it may quote a value.
        error_id: int | None = answer.get("ErrorID")
        said = f"{peer} answered with status {status:04X}"
        if status in _PASSING and error_id is None:
            raise DestinationUnavailable(said)
        raise RefusedOperation(said, status=status, error_id=error_id)
    return status
