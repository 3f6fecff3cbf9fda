"""The running gateway: stages, stores, workflows and listener put together, started and stopped in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum

import sqlalchemy as sa
from pydicom import Dataset
from pynetdicom.association import Association

from cxr_pacs import __version__, dimse
from cxr_pacs.gateway.commitment import CommitmentUser
from cxr_pacs.gateway.commitment_provider import CommitmentProvider
from cxr_pacs.gateway.destinations import check_credentials
from cxr_pacs.gateway.fetch_schedule import FetchSchedule
from cxr_pacs.gateway.fetching import Fetcher
from cxr_pacs.gateway.folder_tables import FolderTables
from cxr_pacs.gateway.forwarding import Forwarding
from cxr_pacs.gateway.intake import Intake, storage_classes
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.order_check import hold_images_of_step
from cxr_pacs.gateway.order_sources import OrderSources
from cxr_pacs.gateway.performed_steps import StepKeeper
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.retention import Retention
from cxr_pacs.gateway.routing import check_findings
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.study import hasten_ended, hasten_reports
from cxr_pacs.gateway.takeover import Presence, local_names
from cxr_pacs.gateway.telling import Telling
from cxr_pacs.gateway.watch import FolderWatch
from cxr_pacs.gateway.watch.file_intake import FileIntake
from cxr_pacs.gateway.watch.record import Record, forget_removed
from cxr_pacs.gateway.watermark import Watermarks
from cxr_pacs.gateway.workflow import StudyWorkflows, Surroundings
from cxr_pacs.gateway.worklist import local_entity, worklist_service
from cxr_pacs.inference import Engine, bundled, load_bundle, load_engine
from cxr_pacs.radiograph import decodable_transfer_syntaxes
from cxr_pacs.settings import DicomSettings, FolderDestination, Settings
from cxr_pacs.worklist import Worklist

__all__ = [
    "Gateway",
    "Role",
    "commitment_service",
    "offered_services",
    "open_engine",
    "performed_step_service",
    "storage_service",
]

logger = logging.getLogger(__name__)

# Seconds that open associations and running workflows get when the gateway stops. A delivery to a peer that
# does not answer ends by its own time-outs; the spool stays locked until then.
ASSOCIATION_GRACE = 10.0
WORKFLOW_GRACE = 120.0
# Under this name works who works alone, on SQLite.
ONLY_EXECUTOR = "gateway"


def open_engine(settings: Settings, largest_batch: int = 1) -> Engine:
    """Load the bundle that the settings name, by path or by its name among the shipped ones."""
    return load_engine(load_bundle(bundled(settings.model.bundle)), settings.engine.device, largest_batch)


def storage_service(
    dicom: DicomSettings,
    receive: Callable[[dimse.ReceivedInstance], None],
    released: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> dimse.Service:
    """Storage SCP; `receive` gets what is stored, `released` what an association that ends well brought."""
    return dimse.storage_scp(storage_classes(dicom), decodable_transfer_syntaxes(), receive, released)


def commitment_service(
    settings: Settings,
    take_request: Callable[[dimse.CommitmentRequest, Association], bool],
    take_report: Callable[[dimse.CommitmentReport], bool],
) -> dimse.Service | None:
    """Storage commitment, where modalities may ask us or a destination is asked; else None."""
    if settings.commitment.provide:
        return dimse.commitment_service(take_request, take_report)
    if settings.committing:
        return dimse.commitment_service(None, take_report)
    return None


def performed_step_service(settings: Settings, steps: dimse.Steps) -> dimse.Service | None:
    """Take performed procedure steps, where the settings say so; else None."""
    return dimse.performed_step_service(steps) if settings.mpps.serve else None


def offered_services(storage: dimse.Service, *others: dimse.Service | None) -> tuple[dimse.Service, ...]:
    """Every service that the gateway listens for; None where the settings do not ask for one."""
    return dimse.verification_scp(), storage, *filter(None, others)


class Role(StrEnum):
    """What a process does; any number of each may share a PostgreSQL and a spool."""

    ALL = "all"
    RECEIVER = "receiver"
    WORKER = "worker"
    WATCHER = "watcher"

    @property
    def listens(self) -> bool:
        """Whether it receives over the network."""
        return self in {Role.ALL, Role.RECEIVER}

    @property
    def receives(self) -> bool:
        """Whether images come in by it: over the network, or from watched folders."""
        return self is not Role.WORKER

    @property
    def works(self) -> bool:
        """Whether it analyses, reports and delivers."""
        return self is not Role.RECEIVER


class Gateway:
    """Receives, analyses, reports and delivers, as far as its role goes, from `start` to `stop`.

    Parameters
    ----------
    settings : Settings
        What the site set.
    engine : Engine or None
        Loaded and warm, see `open_engine`; None for a receiver, which does nothing with what it received.
    role : Role
        What this process does.
    on_lost : callable
        Called when another living process has this one's name, so that this one must end.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine | None,
        role: Role = Role.ALL,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._role = role
        self._on_lost = on_lost
        self._on_stop = ExitStack()

    def start(self) -> None:
        """Listen, and take up earlier work. ConfigurationError names what the site must mend."""
        check_credentials(self._settings)
        if self._engine is not None:
            check_findings(self._settings, self._engine.identity)
        with ExitStack() as undo:
            spool = Spool(self._settings.spool.path)
            ledger = open_ledger(self._settings.database_url)
            undo.callback(ledger.engine.dispose)
            name = undo.enter_context(spool.place(local_names()))
            queue = Queue(ledger.engine)
            undo.callback(queue.close)
            site = Site(settings=self._settings, ledger=ledger, spool=spool, queue=queue, clock=time.time)
            # Shared: what the listener took of an association is told on it.
            user, provider = CommitmentUser(site), CommitmentProvider(site)
            self._announce()
            workflows = None
            if self._engine is not None:
                around = Surroundings(
                    site=site,
                    reader=Reader(self._settings, self._engine),
                    commitment=user,
                    commitment_provider=provider,
                    executor=name if ledger.is_shared else ONLY_EXECUTOR,
                )
                self._join(around, undo)
                workflows = StudyWorkflows(around)
            queue.prepare()
            receiving = undo.enter_context(ExitStack())
            if self._role.receives:
                admit = Watermarks(self._settings.spool, time.monotonic).admit
                namespace = self._settings.site.uid_namespace
                intake = Intake(ledger, spool, admit, Forwarding(site).schedule, namespace, site.clock)
                self._watch(site, intake, receiving)
            if self._role.listens:
                # Before anything is sent: an archive may report on an association of its own at once.
                self._listen(site, intake, user, provider, receiving)
            if workflows is not None:
                self._write_tables(site, undo)  # to the last object that is delivered
                workflows.start()
                undo.callback(workflows.stop, WORKFLOW_GRACE)
                retention = Retention(site)
                retention.start()
                undo.callback(retention.stop)
            undo.callback(receiving.close)
            self._on_stop = undo.pop_all()

    def stop(self) -> None:
        """Stop accepting, let running work end or park it, close everything."""
        self._on_stop.close()

    def _announce(self) -> None:
        logger.info("cxr-pacs %s, role %s", __version__, self._role)
        logger.info("spool %s", self._settings.spool.path.absolute())
        if self._engine is None:
            return
        model = self._engine.identity
        logger.info("model %s %s (%s)", model.name, model.version, model.digest[:12])
        if not self._engine.claims:
            logger.warning("the model claims no class for any patient: reports will hold no score")
        for destination in self._settings.destination:
            logger.info("destination %s: %s", destination.name, destination.where)
        if not self._settings.destination:
            logger.warning("no destination: results stay in the spool")
        if not self._settings.retention.files_days:
            logger.warning("retention.files_days is not set: the spool keeps every file for ever")

    def _join(self, around: Surroundings, undo: ExitStack) -> None:
        """Be known among those who work on this site, or be the only one."""
        site = around.site
        if site.ledger.is_shared:
            presence = Presence(site.ledger.engine, site.queue, around.executor, site.spool, self._on_lost)
            presence.start()
            undo.callback(presence.stop)
        else:
            undo.enter_context(site.spool.exclusive())

    def _write_tables(self, site: Site, undo: ExitStack) -> None:
        for destination in self._settings.destination:
            if isinstance(destination, FolderDestination) and destination.tables:
                tables = FolderTables(site, destination)
                tables.start()
                undo.callback(tables.stop)

    def _watch(self, site: Site, intake: Intake, undo: ExitStack) -> None:
        if not site.ledger.is_shared:  # else a folder may be another host's
            forget_removed(site.ledger, [settings.name for settings in self._settings.watch])
        contexts = dict(storage_service(self._settings.dicom, intake.receive).contexts)
        for settings in self._settings.watch:
            files = FileIntake(settings.source, contexts, intake.receive)
            watch = FolderWatch(settings, files, Record(site.ledger, settings.name, site.clock))
            watch.start()
            undo.callback(watch.stop, ASSOCIATION_GRACE)

    def _listen(
        self,
        site: Site,
        intake: Intake,
        user: CommitmentUser,
        provider: CommitmentProvider,
        undo: ExitStack,
    ) -> None:
        settings = self._settings
        storage = storage_service(
            settings.dicom,
            intake.receive,
            lambda uids: hasten_reports(site.ledger, site.queue, settings, uids, site.clock()),
        )
        commitment = commitment_service(settings, provider.take_request, user.take_report)
        worklist = (
            worklist_service(Worklist(site.ledger.engine), settings.worklist)
            if settings.worklist.serve
            else None
        )
        telling = Telling(site)

        def on_operation(connection: sa.Connection, step_id: int, attributes: Dataset) -> None:
            telling.owe_operation(connection, step_id, attributes)
            hold_images_of_step(connection, step_id)

        steps = StepKeeper(
            Worklist(site.ledger.engine),
            on_operation,
            lambda uids: hasten_ended(site.ledger, site.queue, settings, uids, site.clock()),
            site.clock,
        )
        others = (commitment, worklist, performed_step_service(settings, steps))
        listener = self._listener(offered_services(storage, *others), intake.refuse_contexts)
        listener.start()
        undo.callback(listener.stop, ASSOCIATION_GRACE)
        if settings.hl7.port or settings.worklist.folder:
            sources = OrderSources(settings, Worklist(site.ledger.engine))
            sources.start()
            undo.callback(sources.stop)
        if settings.archive and settings.fetch.every:
            fetcher = Fetcher(settings, site.ledger, storage, site.clock)
            looks = FetchSchedule(fetcher, settings, site.ledger, site.clock)
            looks.start()
            undo.callback(looks.stop, ASSOCIATION_GRACE)

    def _listener(
        self,
        services: Sequence[dimse.Service],
        refuse_contexts: Callable[[Sequence[dimse.RefusedContext]], None],
    ) -> dimse.Listener:
        logger.info("negotiating %d transfer syntaxes", len(decodable_transfer_syntaxes()))
        return dimse.Listener(local_entity(self._settings.dicom), services, refuse_contexts)
