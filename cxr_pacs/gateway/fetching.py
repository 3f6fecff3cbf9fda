"""Fetching: what an archive has and the gateway missed is brought in, through the one intake."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cxr_pacs import dimse
from cxr_pacs.errors import ConfigurationError, DeliveryRefused, RetrievalRefused, TransientError
from cxr_pacs.gateway.fetch_record import (
    forget_unfetched,
    known_images,
    record_unfetched,
    unfetched_since,
    unfetched_studies,
)
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.missing import Look, MissingStudy, Wanted, look
from cxr_pacs.settings import ArchiveSettings, Settings

__all__ = ["Fetched", "FetchedStudy", "Fetcher", "archives", "local_time"]

logger = logging.getLogger(__name__)

# So many studies in a row without an answer, and the rest is left for the next fetch.
_UNANSWERED = 3
# Seconds for which a study that an archive does not give is asked for again: a week.
_ASKED_AGAIN = 7 * 86400.0


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
    """How a fetch ended.

    Attributes
    ----------
    studies : tuple of FetchedStudy
        What was tried.
    postponed : int
        Studies left for the next fetch,
    untried : int
        and how many of them were never tried.
    """

    studies: tuple[FetchedStudy, ...]
    postponed: int
    untried: int

    @property
    def whole(self) -> bool:
        """Whether every image came."""
        return not self.postponed and all(study.came == study.wanted for study in self.studies)


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
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, storage: dimse.Service, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._storage = storage
        self._clock = clock

    def look(self, archive: ArchiveSettings, since: datetime, until: datetime | None) -> Look:
        """Ask what `archive` has of the range, local time, that the ledger does not know.

        Raises
        ------
        DestinationUnavailable, DeliveryRefused, RetrievalRefused
            As `dimse.querying` and `dimse.Query.find`.
        """
        return self._look(archive, since, until, ())

    def look_again(self, archive: ArchiveSettings, since: datetime) -> Look:
        """As `look`, without end, and of what an earlier fetch did not get whole, whatever its date.

        What did not come in a week is given up.
        """
        with self._ledger.begin() as connection:
            for uid in unfetched_since(connection, archive.name, self._clock() - _ASKED_AGAIN):
                logger.error("from %s: study %s did not come in a week: it is given up", archive.name, uid)
                forget_unfetched(connection, archive.name, uid)
            tried = unfetched_studies(connection, archive.name)
        found = self._look(archive, since, None, tried)
        missing = {study.uid for study in found.missing}
        with self._ledger.begin() as connection:
            for uid in tried:
                if uid not in missing:
                    forget_unfetched(connection, archive.name, uid)
        return found

    def _look(
        self, archive: ArchiveSettings, since: datetime, until: datetime | None, studies: tuple[str, ...]
    ) -> Look:
        wanted = Wanted(
            since=since,
            until=until,
            modalities=self._settings.fetch.modalities,
            sop_classes=tuple(sop_class for sop_class, _ in self._storage.contexts),
            studies=studies,
        )
        return look(self._settings.dicom.ae_title, _peer(archive), wanted, self._ledger)

    def fetch(
        self, archive: ArchiveSettings, found: Look, stopped: Callable[[], bool] = lambda: False
    ) -> Fetched:
        """Fetch what a look found, study by study; what was tried before comes after the others.

        At most ``fetch.most_studies``, and until `stopped` or until the archive has gone silent.
        """
        with self._ledger.begin() as connection:
            turn = {uid: turn for turn, uid in enumerate(unfetched_studies(connection, archive.name))}
        missing = sorted(found.missing, key=lambda study: turn.get(study.uid, -1))
        done: list[FetchedStudy] = []
        for study in missing[: self._settings.fetch.most_studies]:
            silent = len(done) >= _UNANSWERED and not any(one.answered for one in done[-_UNANSWERED:])
            if silent or stopped():
                break
            done.append(self._fetch_study(archive, study))
            logger.info("from %s: %d of %d missing images", archive.name, done[-1].came, done[-1].wanted)
        left = missing[len(done) :]
        untried = sum(study.uid not in turn for study in left)
        return Fetched(studies=tuple(done), postponed=len(left), untried=untried)

    def _fetch_study(self, archive: ArchiveSettings, study: MissingStudy) -> FetchedStudy:
        problems, answered = [], True
        wanted = len(study.images)
        try:
            for series, images in study.series.items():
                if said := self._retrieve(archive, study.uid, series, images):
                    problems.append(said)
        except (TransientError, DeliveryRefused) as error:
            problems.append(str(error))
            answered = False
        with self._ledger.begin() as connection:
            came = len(known_images(connection, study.images))
            if came < wanted:
                record_unfetched(connection, archive.name, study.uid, self._clock())
            else:
                forget_unfetched(connection, archive.name, study.uid)
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
        """Retrieve images; what the archive says, when it is not plain success, be it a refusal."""
        wanted = dimse.identifier(
            "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=list(images)
        )
        title, patience = self._settings.dicom.ae_title, self._settings.fetch.patience
        try:
            if archive.method == "get":
                said = dimse.get(title, _peer(archive), wanted, self._storage, patience)
            else:
                said = dimse.move(title, _peer(archive), wanted, title, patience)
        except RetrievalRefused as error:
            return str(error)
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
