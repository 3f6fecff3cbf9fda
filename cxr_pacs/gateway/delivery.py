"""Delivery: one attempt to bring one object to one destination, and when to try again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_pacs import dimse
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable
from cxr_pacs.settings import DeliverySettings, Settings

__all__ = ["Attempt", "Courier", "backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt ended: ``delivered``, ``parked`` or, to be repeated, ``waiting``; with the reason."""

    state: str
    reason: str | None


class Courier:
    """Sends objects to the destinations of the settings.

    Parameters
    ----------
    settings : Settings
        Our AE title and the destinations.
    """

    def __init__(self, settings: Settings) -> None:
        self._calling_ae_title = settings.dicom.ae_title
        self._peers: Mapping[str, dimse.Peer] = {
            d.name: dimse.Peer(ae_title=d.ae_title, host=d.host, port=d.port) for d in settings.destination
        }

    def send(self, destination: str, path: Path) -> Attempt:
        """Try once. "Delivered" only on the peer's own success or warning status."""
        peer = self._peers.get(destination)
        if peer is None:
            return Attempt(state="parked", reason=f"{destination} is no longer in the settings")
        try:
            dimse.store(self._calling_ae_title, peer, path)
        except DestinationUnavailable as error:
            return Attempt(state="waiting", reason=str(error))
        except DeliveryRefused as error:
            return Attempt(state="parked", reason=str(error))
        return Attempt(state="delivered", reason=None)


def backoff(settings: DeliverySettings, attempts: int) -> float:
    """Seconds to wait after `attempts` failed ones: doubled each time, with up to 10 % added at random."""
    wait = min(settings.first_retry * 2.0 ** min(attempts - 1, 60), settings.longest_retry)
    return wait * (1.0 + 0.1 * random.random())  # noqa: S311  jitter, not a secret
