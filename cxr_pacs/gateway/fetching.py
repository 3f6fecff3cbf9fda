"""Fetching: what an archive has and the gateway missed is brought in, through the one intake."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cxr_pacs import dimse
from cxr_pacs.errors import ConfigurationError, PermanentError, TransientError
from cxr_pacs.gateway.fetch_record import known_images
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.missing import Look, MissingStudy, Wanted, look
from cxr_pacs.settings import ArchiveSettings, Settings

__all__ = ["Fetched", "FetchedStudy", "Fetcher", "archives", "local_time"]

logger = logging.getLogger(__name__)

# So many studies in a row without an answer, and the rest is left for the next fetch.
_UNANSWERED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedStudy:
    """How the retrieval of a study ended.

    Attributes
    ----------
    uid : str
        Study Instance UID.
    came, wanted : int
        Images that the ledger knows now, of those that it did not know.
    answered : bool
        Whether the archive answered to the end: what did not come then, it would not or could not give.
    problem : str or None
        What the archive, or the network, says of it; without patient identity.
    """

    uid: str
    came: int
    wanted: int
    answered: bool
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How a fetch ended; `postponed` counts studies left for the next one."""

    studies: tuple[FetchedStudy, ...]
    postponed: int

    @property
    def whole(self) -> bool:
        """Whether every image came."""
        return not self.postponed and all(study.came == study.wanted for study in self.studies)

    @property
    def answered(self) -> bool:
        """Whether the archive answered for every study to the end."""
        return not self.postponed and all(study.answered for study in self.studies)


class Fetcher:
    """Asks archives and fetches from them, beside a running gateway or within it.

    Parameters
    ----------
    settings : Settings
        Our AE title, the archives and ``[fetch]``.
    ledger : Ledger
        Knows what was received.
    storage : Service
        The gateway's Storage SCP: what comes by C-GET goes the way of a C-STORE.
    """

    def __init__(self, settings: Settings, ledger: Ledger, storage: dimse.Service) -> None:
        self._settings = settings
        self._ledger = ledger
        self._storage = storage

    def look(self, archive: ArchiveSettings, since: datetime, until: datetime | None) -> Look:
        """Ask what `archive` has of the range, local time, that the ledger does not know.

        Raises
        ------
        DestinationUnavailable, DeliveryRefused, RetrievalRefused
            As `dimse.querying` and `dimse.Query.find`.
        """
        wanted = Wanted(
            since=since,
            until=until,
            modalities=self._settings.fetch.modalities,
            sop_classes=tuple(sop_class for sop_class, _ in self._storage.contexts),
        )
        return look(self._settings.dicom.ae_title, _peer(archive), wanted, self._ledger)

    def fetch(
        self, archive: ArchiveSettings, found: Look, stopped: Callable[[], bool] = lambda: False
    ) -> Fetched:
        """Fetch what a look found, study by study.

        At most ``fetch.most_studies``, and until `stopped` or until the archive has gone silent.
        """
        done: list[FetchedStudy] = []
        for study in found.missing[: self._settings.fetch.most_studies]:
            silent = len(done) >= _UNANSWERED and not any(one.answered for one in done[-_UNANSWERED:])
            if silent or stopped():
                break
            done.append(self._fetch_study(archive, study))
            logger.info("from %s: %d of %d missing images", archive.name, done[-1].came, done[-1].wanted)
        return Fetched(studies=tuple(done), postponed=len(found.missing) - len(done))

    def _fetch_study(self, archive: ArchiveSettings, study: MissingStudy) -> FetchedStudy:
        problems, answered = [], True
        try:
            for series, images in study.series.items():
                if said := self._retrieve(archive, study.uid, series, images):
                    problems.append(said)
        except (TransientError, PermanentError) as error:
            problems.append(str(error))
            answered = False
        with self._ledger.begin() as connection:
            came = len(known_images(connection, study.images))
        wanted = len(study.images)
        if came < wanted and not problems:
            problems.append("the archive says that all was sent: what came had other UIDs, or was refused")
        return FetchedStudy(
            uid=study.uid,
            came=came,
            wanted=wanted,
            answered=answered,
            problem="; ".join(dict.fromkeys(problems)) or None,
        )

    def _retrieve(
        self, archive: ArchiveSettings, study: str, series: str, images: tuple[str, ...]
    ) -> str | None:
        """Retrieve images; what the archive says, when it is not plain success."""
        wanted = dimse.identifier(
            "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=list(images)
        )
        title, patience = self._settings.dicom.ae_title, self._settings.fetch.patience
        if archive.method == "get":
            said = dimse.get(title, _peer(archive), wanted, self._storage, patience)
        else:
            said = dimse.move(title, _peer(archive), wanted, title, patience)
        if said.status == 0 and not said.failed:
            return None
        counts = (("failed", said.failed), ("remaining", said.remaining), ("with warning", said.warning))
        told = ", ".join(f"{count} {name}" for name, count in counts if count)
        return f"status {said.status:04X}" + (f", sub-operations {told}" if told else "")


def _peer(archive: ArchiveSettings) -> dimse.Peer:
    return dimse.Peer(ae_title=archive.ae_title, host=archive.host, port=archive.port)


def local_time(at: float) -> datetime:
    """`at`, seconds since the epoch, in local time and without a time zone, as archives date studies."""
    return datetime.fromtimestamp(at, UTC).astimezone().replace(tzinfo=None)


def archives(settings: Settings, name: str | None) -> tuple[ArchiveSettings, ...]:
    """Give the archives of the settings, or the one called `name`; ConfigurationError when there is none."""
    found = tuple(one for one in settings.archive if name in (None, one.name))
    if not found:
        called = "" if name is None else f" is called {name}"
        raise ConfigurationError(
            f"archive: no [[archive]] of the settings{called or ' is there to fetch from'}"
        )
    return found
