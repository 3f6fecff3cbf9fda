"""What follows from an image's order: a contradiction is held, silence is waited for, and not for ever."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset

from cxr_pacs.dimse import Peer
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable, RetrievalRefused, WorklistSilent
from cxr_pacs.evidence import request_of
from cxr_pacs.gateway.order_check.asking import Asked, OwnWorklist, RemoteWorklist, orders_for
from cxr_pacs.gateway.order_check.comparison import Comparison, Outcome, compare
from cxr_pacs.gateway.order_check.record import is_released, named, silent_since
from cxr_pacs.gateway.site import Site
from cxr_pacs.radiograph import Decision
from cxr_pacs.radiograph import Outcome as Selected
from cxr_pacs.worklist import Worklist

__all__ = ["RUNG", "Checked", "OrderChecks"]

logger = logging.getLogger(__name__)

RUNG: Final = "worklist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An image and its order.

    Attributes
    ----------
    comparison : Comparison or None
        None where no worklist was to be asked.
    file : str or None
        In the spool: what the order with which the image agrees says of the request.
    objection : Decision or None
        Why the image is not to be read.
    """

    comparison: Comparison | None = None
    file: str | None = None
    objection: Decision | None = None


class OrderChecks:
    """Compares images with their orders, as the settings say.

    Parameters
    ----------
    site : Site
        Its worklist, and where what an order says is kept.
    """

    def __init__(self, site: Site) -> None:
        self._settings = site.settings.order_check
        self._ledger = site.ledger
        self._spool = site.spool
        self._clock = site.clock
        self._worklist: Asked | None = None
        if self._settings.worklist == "own":
            self._worklist = OwnWorklist(Worklist(site.ledger.engine))
        if self._settings.worklist == "remote":
            peer = Peer(ae_title=self._settings.ae_title, host=self._settings.host, port=self._settings.port)
            calling, pause = site.settings.dicom.ae_title, site.settings.delivery.first_retry
            self._worklist = RemoteWorklist(calling, peer, pause)

    def check(self, instance_id: int, header: Dataset) -> Checked:
        """
        Ask the worklist for the order of an image, and compare them.

        Raises
        ------
        WorklistSilent
            The worklist does not answer, and there is patience left.
        """
        if self._worklist is None:
            return Checked()
        try:
            comparison = compare(header, orders_for(header, self._worklist))
        except (DestinationUnavailable, DeliveryRefused, RetrievalRefused) as error:
            logger.warning("instance %d: the worklist did not answer: %s", instance_id, error)
            self._wait(instance_id)
            comparison = Comparison(outcome=Outcome.UNASKED)
        if comparison.order is not None:
            said = _encoded(request_of(comparison.order))
            return Checked(comparison=comparison, file=self._spool.keep_order(instance_id, said))
        return Checked(comparison=comparison, objection=self._objection(instance_id, comparison))

    def _wait(self, instance_id: int) -> None:
        now = self._clock()
        with self._ledger.begin() as connection:
            since = silent_since(connection, instance_id, now)
        if (left := since + self._settings.patience - now) > 0:
            raise WorklistSilent("the worklist did not answer", patience_left=left)

    def _objection(self, instance_id: int, comparison: Comparison) -> Decision | None:
        with self._ledger.begin() as connection:
            if not comparison.differs or is_released(connection, instance_id):
                return None
        reason = (
            f"The image contradicts its order in the worklist in {named(comparison.differs)}: correct "
            "the order and rerun the study, send the corrected image under new UIDs, or release it if it is "
            "right."
        )
        return Decision(outcome=Selected.HOLD, rung=RUNG, reason=reason)


def _encoded(request: Dataset) -> bytes:
    request.SpecificCharacterSet = "ISO_IR 192"
    buffer = io.BytesIO()
    request.save_as(buffer, implicit_vr=True, little_endian=True)
    return buffer.getvalue()
