"""Performed procedure steps as their provider: kept before they are answered, and what follows from them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa
from pydicom import Dataset

from cxr_pacs import dimse
from cxr_pacs.dimse.mpps_attributes import FINAL, changed
from cxr_pacs.errors import SpoolUnavailable
from cxr_pacs.worklist import Worklist
from cxr_pacs.worklist.performed import add_step, replace_step, step_of, studies_of

__all__ = ["StepKeeper", "step_service"]

logger = logging.getLogger(__name__)


class StepKeeper:
    """Keeps steps, and lets worklist items follow, each in one transaction (`dimse.Steps`).

    Parameters
    ----------
    worklist : Worklist
        Where they are kept.
    on_operation : callable
        Gets (connection, step id, attributes as they came) in that transaction.
    on_end : callable
        Gets the Study Instance UIDs of a step that was completed or discontinued, after the transaction and
        before the answer.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self,
        worklist: Worklist,
        on_operation: Callable[[sa.Connection, int, Dataset], None],
        on_end: Callable[[tuple[str, ...]], None],
        clock: Callable[[], float],
    ) -> None:
        self._worklist = worklist
        self._on_operation = on_operation
        self._on_end = on_end
        self._clock = clock

    def create(self, sop_instance_uid: str, attributes: Dataset, calling_ae_title: str) -> bool:
        """Keep a new step; False where there is one of this UID. SpoolUnavailable where it cannot be kept."""
        now = self._clock()
        try:
            with self._worklist.begin() as connection:
                step_id = add_step(connection, sop_instance_uid, attributes, source=calling_ae_title, now=now)
                if step_id is None:
                    return False
                self._on_operation(connection, step_id, attributes)
        except sa.exc.SQLAlchemyError as error:
            raise _unavailable(error) from error
        logger.info("performed procedure step %d from %s: in progress", step_id, calling_ae_title)
        return True

    def change(self, sop_instance_uid: str, modification: Dataset) -> bool:
        """Set attributes of a step; False where there is none, RefusedOperation where they may not be set."""
        try:
            with self._worklist.begin() as connection:
                found = step_of(connection, sop_instance_uid)
                if found is None:
                    return False
                step_id, known = found
                step = changed(known, modification)
                replace_step(connection, step_id, step, self._clock())
                self._on_operation(connection, step_id, modification)
                studies = studies_of(connection, sop_instance_uid)
        except sa.exc.SQLAlchemyError as error:
            raise _unavailable(error) from error
        state = str(step.PerformedProcedureStepStatus)
        logger.info("performed procedure step %d: %s", step_id, state.lower())
        if state in FINAL:
            self._on_end(studies)
        return True


def step_service(worklist: Worklist) -> dimse.Service:
    """Make the service for a worklist alone, where no study waits for a step, and none is sent on."""
    keeper = StepKeeper(worklist, lambda *_: None, lambda _: None, time.time)
    return dimse.performed_step_service(keeper)


def _unavailable(error: sa.exc.SQLAlchemyError) -> SpoolUnavailable:
    return SpoolUnavailable(f"the database did not take a performed procedure step: {type(error).__name__}")
