"""Looks for missed studies while the gateway runs: at its start, then at a steady pace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cxr_pacs.errors import PermanentError, TransientError, kind_and_place
from cxr_pacs.gateway.fetch_record import last_fetch, record_fetch
from cxr_pacs.gateway.fetching import Fetcher, local_time
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.settings import ArchiveSettings, Settings

__all__ = ["FetchSchedule"]

logger = logging.getLogger(__name__)


class FetchSchedule:
    """A thread that fetches from every archive, from `start` to `stop`.

    Each time it asks from ``fetch.look_back`` before the last fetch that tried every study, or before now
    when there was none. So an outage of either side makes the next range longer, and nothing falls between
    two ranges. A study that the archive does not give whole makes no range longer: it is asked for by its
    UID, for a week.

    Parameters
    ----------
    fetcher : Fetcher
    settings : Settings
        The archives and ``[fetch]``.
    ledger : Ledger
        Keeps when each archive was last asked for everything.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self, fetcher: Fetcher, settings: Settings, ledger: Ledger, clock: Callable[[], float]
    ) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Begin with a first look at once."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """End after the study that is being fetched, and wait `grace` seconds for that.

        What comes later is durable as well: the ledger and the spool do not need this thread to end.
        """
        self._stopped.set()
        self._thread.join(grace)

    def _run(self) -> None:
        while True:
            for archive in self._settings.archive:
                self._fetch(archive)
            if self._stopped.wait(self._settings.fetch.every):
                return

    def _fetch(self, archive: ArchiveSettings) -> None:
        try:
            self._fetch_missed(archive)
        except (PermanentError, TransientError) as error:
            logger.warning("fetch from %s: %s", archive.name, error)
        except Exception as error:  # noqa: BLE001  top of a thread: whatever it was, the next look comes
            logger.error("fetch from %s: %s", archive.name, kind_and_place(error))  # noqa: TRY400

    def _fetch_missed(self, archive: ArchiveSettings) -> None:
        now = self._clock()
        with self._ledger.begin() as connection:
            last = last_fetch(connection, archive.name)
        # The last fetch lies in the future when the clock was set back meanwhile.
        since = min(now if last is None else last, now) - self._settings.fetch.look_back * 3600.0
        found = self._fetcher.look_again(archive, local_time(since))
        fetched = self._fetcher.fetch(archive, found, self._stopped.is_set)
        for study in fetched.studies:
            if study.problem is not None:
                logger.warning(
                    "fetch from %s: study %s: %d of %d images came: %s",
                    archive.name,
                    study.uid,
                    study.came,
                    study.wanted,
                    study.problem,
                )
        logger.info(
            "fetch from %s: %d studies, %d with missing images, %d of them left for the next look",
            archive.name,
            found.studies,
            len(found.missing),
            fetched.postponed,
        )
        if not fetched.untried:
            with self._ledger.begin() as connection:
                record_fetch(connection, archive.name, now)
