"""What the parts of a gateway share: the site's settings and stores, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import Settings

__all__ = ["Site"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Settings and stores of one gateway process; `clock` gives seconds since the epoch."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    queue: Queue
    clock: Callable[[], float]
