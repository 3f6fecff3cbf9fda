"""Asking a worklist for the order of an image: the gateway's own, or that of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydicom import Dataset

from cxr_pacs.gateway.order_check.comparison import image_keys
from cxr_pacs.worklist import StepState, Worklist

__all__ = ["Asked", "OwnWorklist", "orders_for"]


class Asked(Protocol):
    """A worklist that can be asked."""

    def orders(self, keyword: str, value: str) -> Sequence[Dataset]:
        """
        Give the items with this accession number, step ID or study UID.

        Raises
        ------
        TransientError
            It does not answer.
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
            "ScheduledProcedureStepID": "step_id",
            "StudyInstanceUID": "study_uid",
        }
        with self._worklist.begin() as connection:
            found = self._worklist.of_order(connection, **{by[keyword]: value})
        wanted = [one for one in found if one.state is not StepState.CANCELLED]
        return [one.item.dataset for one in wanted or found]


def orders_for(header: Dataset, worklist: Asked) -> Sequence[Dataset]:
    """Give the orders of the first of the image's keys that the worklist knows; none where it knows none."""
    for keyword, values in image_keys(header):
        if found := [order for value in values for order in worklist.orders(keyword, value)]:
            return found
    return ()
