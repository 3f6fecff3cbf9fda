"""What came of one worklist item: outcome, latencies, and why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cxr_pacs.errors import CxrPacsError
from cxr_pacs.simulator.commitments import Awaited

__all__ = ["Examination", "Failure", "Outcome", "Step"]


class Step(StrEnum):
    """What a modality does in turn, each with its latency."""

    WORKLIST = "worklist"  # C-FIND, first request to last response
    IN_PROGRESS = "MPPS in progress"
    STORE = "C-STORE"
    COMMITMENT_REQUEST = "commitment request"
    FINAL = "MPPS final"
    COMMITMENT = "commitment"  # from the request to the report


class Outcome(StrEnum):
    """How an examination ended."""

    COMPLETED = "completed"
    DISCONTINUED = "discontinued"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong where; without identity."""

    station_ae_title: str
    study_instance_uid: str
    step: Step
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What came of one worklist item.

    Attributes
    ----------
    study_instance_uid, station_ae_title : str
        Which, and where.
    outcome : Outcome
        How it ended.
    seconds : mapping of Step to float
        How long each step took that was done.
    failure : Failure or None
        Of the step at which it ended early.
    awaited : Awaited or None
        A report on storage commitment that is still to come.
    """

    study_instance_uid: str
    station_ae_title: str
    outcome: Outcome
    seconds: Mapping[Step, float]
    failure: Failure | None = None
    awaited: Awaited | None = None

    def settled(self) -> Examination:
        """Wait for what is still to come."""
        if self.awaited is None:
            return self
        try:
            seconds = {**self.seconds, Step.COMMITMENT: self.awaited.seconds()}
        except CxrPacsError as error:
            failure = Failure(
                station_ae_title=self.station_ae_title,
                study_instance_uid=self.study_instance_uid,
                step=Step.COMMITMENT,
                reason=str(error),
            )
            return replace(self, outcome=Outcome.FAILED, failure=failure, awaited=None)
        return replace(self, seconds=seconds, awaited=None)
