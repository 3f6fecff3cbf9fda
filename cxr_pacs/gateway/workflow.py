"""The durable steps of one study: analyse each instance, report when quiet, deliver each object.

DBOS executes, the ledger is the truth. A workflow carries the id of a ledger row and the number of its
attempt, nothing else. Each one is a single action that may be done twice: it looks at the ledger first, makes
the same bytes under the same UIDs again, and commits its outcome together with the enqueue of the next
workflow in one transaction. So a process may die anywhere, and the next one goes on.

::

    intake ─▶ analyse(instance) ─▶ report(study), after the quiet period ─▶ deliver(delivery) ─▶ commit …
    rerun ──────▲
    intake ─▶ forward(forwarding), of originals that a route sends on …
    deliver, performed procedure step ─▶ tell(message), to peers that are told
"""

from __future__ import annotations

import functools
import io
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer
from pydicom import FileDataset

from cxr_pacs.errors import EvidenceError, WorklistSilent
from cxr_pacs.gateway import commitment_ledger, failures, messages, owed
from cxr_pacs.gateway.commitment import CommitmentUser
from cxr_pacs.gateway.commitment_provider import CommitmentProvider
from cxr_pacs.gateway.delivery import Deliveries, backoff
from cxr_pacs.gateway.documents import KINDS, Writer
from cxr_pacs.gateway.forwarding import Forwarding
from cxr_pacs.gateway.ledger import InstanceRow, MadeObject
from cxr_pacs.gateway.made import first_made, record_made
from cxr_pacs.gateway.order_check import Checked, OrderChecks, order_files, record_check
from cxr_pacs.gateway.order_check.wrong_entry import hold_images_of_study
from cxr_pacs.gateway.probing import Probes
from cxr_pacs.gateway.queue import APPLICATION, APPLICATION_VERSION, FATAL_DISPATCHES
from cxr_pacs.gateway.reading import OpenedFile, Reader
from cxr_pacs.gateway.rerun import (
    close_reruns,
    earlier_attempts,
    lock_study,
    reading_time,
    set_superseded,
    superseded_results,
)
from cxr_pacs.gateway.routing import RoutedImage, Routes, read_routed_image
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.study import resettle_reports, until_due
from cxr_pacs.gateway.sweep import Sweep
from cxr_pacs.gateway.telling import TOLD_AT_ONCE, Telling
from cxr_pacs.gateway.trials import ANALYSES_AT_ONCE, FATAL_TRIALS, Trials
from cxr_pacs.radiograph import Outcome

__all__ = ["StudyWorkflows", "Surroundings"]

logger = logging.getLogger(__name__)

# Idle, each poll of a queue costs about 2 ms of a processor.
POLL_SECONDS = 0.2
DELIVERY_POLL_SECONDS = 0.1
# With each destination, and with each modality.
COMMITMENTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the workflows work with; `executor` names this process among those that do."""

    site: Site
    reader: Reader
    commitment: CommitmentUser
    commitment_provider: CommitmentProvider
    executor: str


class StudyWorkflows:
    """The workflows of one gateway process.

    Parameters
    ----------
    around : Surroundings
        Site and stages.
    """

    def __init__(self, around: Surroundings) -> None:
        site = around.site
        self._settings = site.settings
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock
        self._reader = around.reader
        self._writer = Writer(around.reader, site.spool)
        self._executor = around.executor
        self._trials = Trials(site.ledger)
        self._at_work: set[str] = set()
        self._sweep = Sweep(site, self._executor, lambda: frozenset(self._at_work))
        self._routes = Routes(site.settings)
        self._order_checks = OrderChecks(site)
        self._commitment = around.commitment
        self._commitment_provider = around.commitment_provider
        self._telling = Telling(site)
        self._deliveries = Deliveries(site, self._delivery_ended)
        self._forwarding = Forwarding(site)
        self._probes = Probes(site, self._deliveries.hasten)

    def start(self) -> None:
        """Take up what an earlier process left, then work until `stop`."""
        DBOS(
            config={
                "name": APPLICATION,
                "application_version": APPLICATION_VERSION,
                "executor_id": self._executor,
                "system_database_url": self._settings.database_url,
                "system_database_engine": self._ledger.engine,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "WARNING",
            }
        )
        for action in (
            self._analyse,
            self._report,
            self._deliveries.deliver,
            self._deliveries.forward,
            self._commitment.commit,
            self._commitment_provider.report_commitment,
            self._telling.tell,
        ):
            name = action.__name__.lstrip("_")
            # DBOS marks the function that it is given, which a bound method does not allow.
            DBOS.workflow(name=name, max_recovery_attempts=FATAL_DISPATCHES - 1)(
                functools.partial(self._at_work_on, name, action)
            )
        DBOS.launch()
        DBOS.register_queue("analyse", worker_concurrency=ANALYSES_AT_ONCE, polling_interval_sec=POLL_SECONDS)
        DBOS.register_queue("report", worker_concurrency=2, polling_interval_sec=POLL_SECONDS)
        # Partitioned by destination, or by the modality: one that is down takes no slot from another.
        DBOS.register_queue(
            "deliver",
            partition_worker_concurrency=self._deliveries.at_once,
            polling_interval_sec=DELIVERY_POLL_SECONDS,
        )
        others = dict.fromkeys(commitment_ledger.WORKFLOWS, COMMITMENTS_AT_ONCE)
        for name, at_once in (*others.items(), (messages.TELL, TOLD_AT_ONCE)):
            DBOS.register_queue(name, partition_worker_concurrency=at_once, polling_interval_sec=POLL_SECONDS)
        self._sweep.start()
        resettle_reports(self._ledger, self._queue, self._settings, self._clock())
        self._deliveries.start()
        self._probes.start()

    def stop(self, grace: float) -> None:
        """Give running workflows `grace` seconds to end; what is left stays in the ledger."""
        self._probes.stop()
        self._sweep.stop()
        DBOS.destroy(workflow_completion_timeout_sec=int(grace), destroy_registry=True)

    def _at_work_on(self, name: str, action: Callable[[int, int], str], row_id: int, attempt: int) -> str:
        workflow_id = f"{name}:{row_id}:{attempt}"
        self._at_work.add(workflow_id)
        try:
            return action(row_id, attempt)
        finally:
            self._at_work.discard(workflow_id)

    # -- analyse --

    def _analyse(self, instance_id: int, attempt: int) -> str:
        try:
            with self._ledger.begin() as connection:
                row = self._ledger.instance(connection, instance_id)
            if row.decision is not None:
                return row.decision
            with self._trials.of(instance_id) as deaths:
                if deaths >= FATAL_TRIALS:
                    return self._hold(instance_id, f"Its analysis ended the process {deaths} times.")
                return self._analyse_instance(row)
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the instance is not lost
            return self._analysis_failed(instance_id, attempt, error)

    def _analysis_failed(self, instance_id: int, attempt: int, error: Exception) -> str:
        reason, pace = failures.said(error), self._settings.delivery
        logger.error("analysis of instance %d, attempt %d: %s", instance_id, attempt, reason)
        with self._ledger.begin() as connection:
            row = self._ledger.instance(connection, instance_id)
            failed = failures.note(connection, row.study_id, instance_id, reason, self._clock())
            why = failures.hopeless(error, failed, [self._spool.path(row.file)], pace.give_up_after)
            if why is None:
                self._trials.end(connection, instance_id)
                longest = error.patience_left if isinstance(error, WorklistSilent) else math.inf
                delay = min(backoff(pace, failed.times), longest)
                self._queue.enqueue(connection, "analyse", instance_id, attempt + 1, delay=delay)
                return "again"
        return self._hold(instance_id, f"Its analysis was given up. {why}")

    def _hold(self, instance_id: int, reason: str) -> str:
        logger.error("instance %d: hold (failure) %s", instance_id, reason)
        with self._ledger.begin() as connection:
            self._trials.end(connection, instance_id)
            if self._ledger.decide(connection, instance_id, decision="hold", rung="failure", reason=reason):
                record_check(connection, instance_id, None, None, self._clock())
                self._forwarding.owe_what_failed(connection, instance_id)
            self._schedule_report(connection, instance_id)
        return "hold"

    def _analyse_instance(self, row: InstanceRow) -> str:
        instance_id = row.id
        with self._ledger.begin() as connection:
            made_at = reading_time(connection, [row])
        opened, checked = self._open(row)
        reading = self._reader.analyse(opened, made_at)
        if (earlier := self._first_made(reading.pictures)) is not None:
            made_at = earlier
            reading = self._reader.read(self._spool.path(row.file), made_at)
        decision = reading.decision
        made = [self._keep(picture, row.study_id, instance_id=instance_id) for picture in reading.pictures]
        with self._ledger.begin() as connection:
            self._trials.end(connection, instance_id)
            first = self._ledger.decide(
                connection,
                instance_id,
                decision=decision.outcome.value,
                rung=decision.rung,
                reason=decision.reason,
            )
            if first and reading.findings is not None:
                self._ledger.add_findings(connection, instance_id, reading.findings, reading.quality)
            if first:
                record_check(connection, instance_id, checked.comparison, checked.file, self._clock())
                for one in made:
                    self._ledger.add_result(connection, one)
                uids = [one.sop_instance_uid for one in made]
                record_made(connection, uids, made_at)
                set_superseded(connection, instance_id, uids)
                self._ledger.add_unmade(connection, row.study_id, instance_id, reading.beside.left_out)
                self._forwarding.owe(connection, instance_id, "after", reading.findings)
            self._schedule_report(connection, instance_id)
        for reason in reading.beside.left_out:
            logger.warning("instance %d: left out: %s", instance_id, reason)
        logger.info("instance %d: %s (%s) %s", instance_id, decision.outcome, decision.rung, decision.reason)
        return decision.outcome.value

    def _open(self, row: InstanceRow) -> tuple[OpenedFile, Checked]:
        """Open the file of an instance; what contradicts its order is held, whatever it shows."""
        opened = self._reader.open(self._spool.path(row.file))
        if opened.dataset is None or opened.decision.outcome is not Outcome.ACCEPT:
            return opened, Checked()
        checked = self._order_checks.check(row.id, opened.dataset)
        return replace(opened, decision=checked.objection or opened.decision), checked

    # -- report --

    def _schedule_report(self, connection: sa.Connection, instance_id: int) -> None:
        """Look at the study again when it can be complete; the last instance's look is the one."""
        study_id = self._ledger.instance(connection, instance_id).study_id
        lock_study(connection, study_id)  # or two that end at once see each other undecided, and nobody looks
        failures.forget(connection, study_id, instance_id)
        delay = until_due(connection, study_id, self._settings, self._clock())
        first = earlier_attempts(connection, instance_id) is None
        attempt = 1 if first else self._queue.attempts("report", instance_id) + 1
        self._queue.enqueue(connection, "report", instance_id, attempt, delay=delay)

    def _report(self, instance_id: int, attempt: int) -> str:
        rows: tuple[InstanceRow, ...] = ()
        with self._ledger.begin() as connection:
            study_id = self._ledger.instance(connection, instance_id).study_id
        try:
            with self._ledger.begin() as connection:
                hold_images_of_study(connection, study_id)
                delay = until_due(connection, study_id, self._settings, self._clock())
                rows = self._ledger.study_instances(connection, study_id)
            if delay <= 0 and (outcome := self._report_study(study_id, rows)) is not None:
                return outcome
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the study is not lost
            return self._report_failed(instance_id, attempt, rows, error)
        with self._ledger.begin() as connection:
            self._queue.enqueue(connection, "report", instance_id, attempt + 1, delay=delay)
        return "again"

    def _report_failed(
        self, instance_id: int, attempt: int, rows: Sequence[InstanceRow], error: Exception
    ) -> str:
        reason, pace, now = failures.said(error), self._settings.delivery, self._clock()
        originals = [self._spool.path(row.file) for row in rows if row.findings is not None]
        with self._ledger.begin() as connection:
            study_id = self._ledger.instance(connection, instance_id).study_id
            logger.error("report of study %d, attempt %d: %s", study_id, attempt, reason)
            failed = failures.note(connection, study_id, None, reason, now)
            why = failures.hopeless(error, failed, originals, pace.give_up_after)
            if (problem := reason if isinstance(error, EvidenceError) else why) is not None:
                failures.give_up_report(self._ledger, connection, study_id, problem, now)
                return "failed"
            delay = backoff(pace, failed.times)
            self._queue.enqueue(connection, "report", instance_id, attempt + 1, delay=delay)
        return "again"

    def _report_study(self, study_id: int, rows: Sequence[InstanceRow]) -> str | None:
        """Report what no report says yet, by one document for each model; None where that was overtaken."""
        accepted = [row for row in rows if row.findings is not None]
        models = dict.fromkeys(row.findings.model for row in accepted if row.findings and not row.reported)
        for model in models:
            of_it = [r for r in accepted if r.findings and r.findings.model == model]
            if not self._report_images(study_id, of_it):
                return None
        with self._ledger.begin() as connection:
            failures.forget(connection, study_id, None)
            close_reruns(connection, study_id, self._clock())
        return "reported" if models else "nothing new"

    def _report_images(self, study_id: int, rows: Sequence[InstanceRow]) -> bool:
        """Report images; False where they were reported, or put back to be read again, meanwhile."""
        sources = tuple(row.id for row in rows)
        with self._ledger.begin() as connection:
            past = superseded_results(connection, study_id)
            results = [r for r in self._ledger.study_results(connection, study_id) if r.id not in past]
            made_at = reading_time(connection, rows)
            orders = order_files(connection, sources)
        documents = self._writer.write(rows, orders, results, made_at)
        if (earlier := self._first_made(documents.every)) is not None:
            made_at = earlier
            documents = self._writer.write(rows, orders, results, made_at)
        made = [self._keep(one, study_id, sources=sources) for one in documents.every]
        # Pictures that an earlier report came with are on their way.
        since = documents.unchanged.id if documents.unchanged else 0
        pictures = [r for r in results if r.instance_id in sources and r.id > since]
        images = {
            row.id: read_routed_image(self._spool.path(row.file), row.source, row.findings) for row in rows
        }
        with self._ledger.begin() as connection:
            lock_study(connection, study_id)
            now = {row.id: row for row in self._ledger.study_instances(connection, study_id)}
            if any(now.get(row.id) != row for row in rows) or order_files(connection, sources) != orders:
                return False
            self._ledger.set_reported(connection, sources)
            self._ledger.add_unmade(connection, study_id, None, documents.beside.left_out)
            for picture in pictures:
                of_it = [image for row_id, image in images.items() if row_id == picture.instance_id]
                self._owe(connection, picture.id, picture.kind, of_it)
            record_made(connection, [one.sop_instance_uid for one in made], made_at)
            for one in made:
                if (result_id := self._ledger.add_result(connection, one)) is not None:
                    self._owe(connection, result_id, one.kind, list(images.values()))
        for reason in documents.beside.left_out:
            logger.warning("study %d: left out: %s", study_id, reason)
        said = "unchanged report" if documents.unchanged else "report"
        logger.info("study %d: %s of %d image(s)", study_id, said, len(rows))
        return True

    # -- deliver --

    def _owe(
        self, connection: sa.Connection, result_id: int, kind: str, images: Sequence[RoutedImage]
    ) -> None:
        for destination in self._routes.of_result(kind, images):
            row_id = owed.owe(connection, owed.DELIVER, result_id, destination, self._clock())
            if row_id is None:
                continue
            row = owed.get(connection, owed.DELIVER, row_id)
            if owed.first_in_line(connection, row) == row_id:
                self._queue.enqueue(connection, owed.DELIVER, row_id, 1, partition=destination)

    def _delivery_ended(self, connection: sa.Connection, row: owed.Owed, state: str) -> None:
        if state == "delivered":
            self._commitment.owe(connection, row)
        self._telling.owe_availability(connection, row)

    # -- files --

    def _first_made(self, objects: Sequence[FileDataset]) -> float | None:
        with self._ledger.begin() as connection:
            return first_made(connection, [str(one.SOPInstanceUID) for one in objects])

    def _keep(
        self,
        made: FileDataset,
        study_id: int,
        *,
        instance_id: int | None = None,
        sources: tuple[int, ...] = (),
    ) -> MadeObject:
        """Put an object of ours into the spool; what the ledger is to record of it."""
        buffer = io.BytesIO()
        made.save_as(buffer, enforce_file_format=True)
        uid = str(made.SOPInstanceUID)
        with self._ledger.begin() as connection:
            known = self._ledger.has_result(connection, uid)
        keep = self._spool.keep_result if known else self._spool.renew_result
        return MadeObject(
            study_id=study_id,
            kind=KINDS[made.SOPClassUID],
            sop_instance_uid=uid,
            file=keep(uid, buffer.getvalue()),
            instance_id=instance_id,
            sources=sources,
        )
