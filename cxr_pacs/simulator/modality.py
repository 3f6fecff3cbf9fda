"""A simulated modality: one examination after another, each the whole conversation with the servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydicom import Dataset

from cxr_pacs import dimse
from cxr_pacs.errors import CxrPacsError, kind_and_place
from cxr_pacs.simulator import performed
from cxr_pacs.simulator.asking import Scheduled, Wanted, scheduled
from cxr_pacs.simulator.commitments import Awaited, Commitments
from cxr_pacs.simulator.examination import Examination, Failure, Outcome, Step
from cxr_pacs.simulator.film import Film
from cxr_pacs.simulator.image import Performance, image_of, new_performance
from cxr_pacs.worklist import WorklistItem

__all__ = ["Modality", "Servers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Who is called; None leaves that part of the conversation out."""

    worklist: dimse.Peer
    archive: dimse.Peer
    performed: dimse.Peer | None
    commitment: dimse.Peer | None


@dataclass(slots=True)
class _Course:
    """Of an examination under way: its steps so far."""

    seconds: dict[Step, float] = field(default_factory=dict)
    step: Step = Step.IN_PROGRESS

    @contextmanager
    def at(self, step: Step) -> Iterator[None]:
        self.step = step
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began


class Modality:
    """One application entity that asks for its worklist and examines.

    Parameters
    ----------
    ae_title : str
        Calling AE title, and Performed Station AE Title.
    servers : Servers
        Who is called.
    wanted : Wanted
        What it asks its worklist for.
    commitments : Commitments or None
        Asks for storage commitment.
    clock : callable
        Local date and time.
    """

    def __init__(
        self,
        ae_title: str,
        servers: Servers,
        wanted: Wanted,
        commitments: Commitments | None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.ae_title = ae_title
        self._servers = servers
        self._wanted = wanted
        self._commitments = commitments
        self._clock = clock

    def worklist(self) -> Scheduled:
        """Ask for the items to examine; raises as `scheduled`."""
        return scheduled(self.ae_title, self._servers.worklist, self._wanted)

    def examine(self, item: WorklistItem, film: Film) -> Examination:
        """Examine: in progress, image, storage commitment, completed."""
        performance = new_performance(item, self.ae_title, self._clock())

        def course(done: _Course) -> Examination:
            self._begin(performance, done)
            with done.at(Step.STORE):
                dimse.store_dataset(self.ae_title, self._servers.archive, image_of(performance, film))
            awaited = self._commit(performance, done)
            return self._ended(performance, Outcome.COMPLETED, done, awaited)

        return self._tried(performance, course)

    def break_off(self, item: WorklistItem) -> Examination:
        """Begin an examination, and discontinue it before there is an image."""
        performance = new_performance(item, self.ae_title, self._clock())

        def course(done: _Course) -> Examination:
            self._begin(performance, done)
            self._set(performance, performed.discontinued(performance, self._clock()), done)
            return self._ended(performance, Outcome.DISCONTINUED, done, None)

        return self._tried(performance, course)

    def _begin(self, performance: Performance, done: _Course) -> None:
        if self._servers.performed is not None:
            with done.at(Step.IN_PROGRESS):
                attributes = performed.begun(performance)
                dimse.create_step(self.ae_title, self._servers.performed, performance.step_uid, attributes)

    def _set(self, performance: Performance, attributes: Dataset, done: _Course) -> None:
        if self._servers.performed is not None:
            with done.at(Step.FINAL):
                dimse.set_step(self.ae_title, self._servers.performed, performance.step_uid, attributes)

    def _commit(self, performance: Performance, done: _Course) -> Awaited | None:
        """Ask for commitment and complete the step; the report, where it may come later."""
        final = performed.completed(performance, self._clock())
        if self._commitments is None:
            self._set(performance, final, done)
            return None
        image = dimse.ObjectReference(
            sop_class_uid=performance.image_class_uid, sop_instance_uid=performance.image_uid
        )
        with ExitStack() as asked:
            with done.at(Step.COMMITMENT_REQUEST):
                awaited = asked.enter_context(self._commitments.asked([image]))
            self._set(performance, final, done)
            if self._commitments.listens:
                return awaited
            done.step = Step.COMMITMENT
            done.seconds[Step.COMMITMENT] = awaited.seconds()
            return None

    def _ended(
        self, performance: Performance, outcome: Outcome, done: _Course, awaited: Awaited | None
    ) -> Examination:
        return Examination(
            study_instance_uid=performance.item.text("StudyInstanceUID"),
            station_ae_title=self.ae_title,
            outcome=outcome,
            seconds=done.seconds,
            awaited=awaited,
        )

    def _tried(self, performance: Performance, course: Callable[[_Course], Examination]) -> Examination:
        done = _Course()
        try:
            return course(done)
        except CxrPacsError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  top of a thread: the other examinations go on
            reason = kind_and_place(error)
        failed_at = done.step
        failure = Failure(
            station_ae_title=self.ae_title,
            study_instance_uid=performance.item.text("StudyInstanceUID"),
            step=failed_at,
            reason=reason + self._given_up(performance, done),
        )
        return replace(self._ended(performance, Outcome.FAILED, done, None), failure=failure)

    def _given_up(self, performance: Performance, done: _Course) -> str:
        """Discontinue the step that is in progress and would stay so; what is to be told where that fails."""
        if Step.IN_PROGRESS not in done.seconds or done.step not in {Step.STORE, Step.COMMITMENT_REQUEST}:
            return ""
        final = performed.failed(performance, self._clock(), stored=Step.STORE in done.seconds)
        try:
            self._set(performance, final, done)
        except CxrPacsError as error:
            return f"; and its performed procedure step stays in progress: {error}"
        return ""
