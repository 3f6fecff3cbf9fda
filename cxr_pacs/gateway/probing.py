"""Probes: a destination that failed is asked by C-ECHO until it answers, and need not wait for a retry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cxr_pacs.errors import kind_and_place
from cxr_pacs.gateway import owed
from cxr_pacs.gateway.destinations import destinations, problem
from cxr_pacs.gateway.site import Site

__all__ = ["Probes"]

logger = logging.getLogger(__name__)


class Probes:
    """Asks, in a thread of its own, the destinations for which something waits out a back-off.

    Parameters
    ----------
    site : Site
        Destinations, the pace, and what waits for them.
    on_back : callable
        Gets the name of a destination that answers and did not before. One that answers and takes nothing
        all the same is left to the back-off.
    """

    def __init__(self, site: Site, on_back: Callable[[str], None]) -> None:
        self._site = site
        self._on_back = on_back
        self._destinations = destinations(site.settings)
        # After a start nobody knows.
        self._silent = set(self._destinations)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        """Begin after one interval: what is due at the start is tried anyway."""
        self._thread.start()

    def stop(self) -> None:
        """End; a probe that is under way is waited for."""
        self._stopped.set()
        self._thread.join()

    def once(self) -> None:
        """Ask each destination that something sleeps for."""
        for name, destination in self._destinations.items():
            with self._site.ledger.begin() as connection:
                if not owed.sleeping(connection, name, self._site.clock(), 1):
                    continue
            said = problem(destination)
            if said is None and name in self._silent:
                logger.info("destination %s answers", name)
                self._on_back(name)
                self._silent.discard(name)
            elif said is not None and name not in self._silent:
                logger.warning("destination %s does not answer: %s", name, said)
                self._silent.add(name)

    def _run(self) -> None:
        while not self._stopped.wait(self._site.settings.delivery.probe_every):
            try:
                self.once()
            except Exception as error:  # noqa: BLE001  top of a thread: the next probe may succeed
                logger.warning("probes: %s", kind_and_place(error))
