"""Asking a worklist for the order of an image: the gateway's own, or that of a peer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement

from cxr_pacs import dimse
from cxr_pacs.errors import CxrPacsError, DestinationUnavailable, RetrievalRefused
from cxr_pacs.gateway.order_check.comparison import differences, image_keys, values
from cxr_pacs.worklist import StepState, Worklist

__all__ = ["ASKED_BACK", "MOST_ANSWERS", "Asked", "OwnWorklist", "RemoteWorklist", "orders_for"]

ASKED_BACK: Final = (
    "AccessionNumber",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
_STEP_ID: Final = "ScheduledProcedureStepID"
_ANOTHER: Final = frozenset({"AccessionNumber", "StudyInstanceUID"})
MOST_ANSWERS: Final = 500
_LONGEST_PAUSE: Final = 60.0  # seconds


class Asked(Protocol):
    """A worklist that can be asked."""

    def orders(self, keyword: str, value: str) -> Sequence[Dataset]:
        """
        Give the items with this accession number, step ID or study UID.

        Raises
        ------
        DestinationUnavailable, DeliveryRefused, RetrievalRefused
            It does not answer, or not so that it could be used.
        """
        ...


class OwnWorklist:
    """The worklist in the gateway's database."""

    def __init__(self, worklist: Worklist) -> None:
        self._worklist = worklist

    def orders(self, keyword: str, value: str) -> Sequence[Dataset]:
        """Give the items; one that was cancelled only where there is no other."""
        by = {
            "AccessionNumber": "accession_number",
            _STEP_ID: "step_id",
            "StudyInstanceUID": "study_uid",
        }
        with self._worklist.begin() as connection:
            found = self._worklist.of_order(connection, **{by[keyword]: value})
        wanted = [one for one in found if one.state is not StepState.CANCELLED]
        return [one.item.dataset for one in wanted or found]


class RemoteWorklist:
    """The worklist of a peer, asked by C-FIND (PS3.4 K.6.1).

    One that did not answer is left alone for a while, and then asked by one image alone: many may wait for
    it, and none is to keep the others from being read.

    Parameters
    ----------
    calling_ae_title : str
        Our own.
    peer : Peer
        The worklist.
    pause : float
        Seconds; doubled at each further silence, up to a minute.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        calling_ae_title: str,
        peer: dimse.Peer,
        pause: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calling = calling_ae_title
        self._peer = peer
        self._pause = pause
        self._clock = clock
        self._wait = 0.0  # as long as it answers
        self._silent_until = clock()
        self._entering = threading.Lock()

    def orders(self, keyword: str, value: str) -> Sequence[Dataset]:
        """Give the items; those alone that have the value, whatever the peer makes of the key.

        A peer may take an optional key as universal (PS3.4 K.2.2.1.2): where more items come than are waited
        for, and none has the value, it does not match by this key, and knows no order by it. By accession
        number every worklist is expected to match.
        """
        with self._entering:
            if self._clock() < self._silent_until:
                raise DestinationUnavailable(f"{self._peer} did not answer a moment ago")
            self._silent_until = self._clock() + self._wait
        try:
            answers = dimse.find_worklist(
                self._calling, self._peer, _identifier(keyword, value), limit=MOST_ANSWERS
            )
        except CxrPacsError:
            self._wait = min(2 * self._wait or self._pause, _LONGEST_PAUSE)
            self._silent_until = self._clock() + self._wait
            raise
        self._wait, self._silent_until = 0.0, self._clock()
        found = [item for item in answers.items if value in values(item, keyword)]
        if not found and not answers.complete and keyword == "AccessionNumber":
            raise RetrievalRefused(f"{self._peer} has too many answers: it does not match by {keyword}")
        return found


def _identifier(keyword: str, value: str) -> Dataset:
    identifier, step = Dataset(), Dataset()
    for back in ASKED_BACK:
        _set(identifier, back, "")
    _set(step, _STEP_ID, "")
    _set(step if keyword == _STEP_ID else identifier, keyword, value)
    identifier.ScheduledProcedureStepSequence = [step]
    if not value.isascii():
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _set(dataset: Dataset, keyword: str, value: str) -> None:
    # What an image says is asked for as it is, even when too long.
    vr = dictionary_VR(keyword)
    dataset.add(DataElement(keyword, vr, [] if vr == "SQ" else value, validation_mode=IGNORE))


def orders_for(header: Dataset, worklist: Asked) -> Sequence[Dataset]:
    """Give the orders of the first of the image's keys that the worklist knows; none where it knows none.

    A step ID need not be unique: an order with another accession number and of another study is not the
    image's.
    """
    for keyword, known in image_keys(header):
        found = (order for value in known for order in worklist.orders(keyword, value))
        if own := [order for order in found if not _ANOTHER.issubset(differences(header, order))]:
            return own
    return ()
