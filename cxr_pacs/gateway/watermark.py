"""How full the spool's disk may become before new instances are refused, and how empty before they are taken.

The share in use is that of ``df``: what is reserved for root counts as not there. From `high_watermark` on a
C-STORE gets A700 (PS3.4 Table B.2-1, refused: out of resources) before anything is written; below
`low_watermark` instances are taken again. What is left above is for what was accepted before: its results
and the ledger. An empty file in the spool marks that instances are refused, so that a restart, a second
receiver on the same spool and ``cxr-pacs status`` know it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cxr_pacs.errors import SpoolFull, SpoolUnavailable
from cxr_pacs.settings import SpoolSettings

__all__ = ["DiskUsage", "Watermarks", "disk_usage"]

logger = logging.getLogger(__name__)

MARK = "refusing"
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """The file system of the spool.

    Attributes
    ----------
    share : float
        In use, 0 to 1, as ``df`` counts.
    free : int
        Bytes that the gateway may still write.
    refusing : bool
        Whether new instances are refused.
    """

    share: float
    free: int
    refusing: bool


def disk_usage(settings: SpoolSettings) -> DiskUsage:
    """Look at the disk now; SpoolUnavailable where there is none."""
    return _usage(settings, refused_before=(settings.path / MARK).exists())


def _usage(settings: SpoolSettings, *, refused_before: bool) -> DiskUsage:
    try:
        disk = os.statvfs(settings.path)
    except OSError as error:
        raise SpoolUnavailable(f"spool.path: {settings.path}: {error.strerror}") from error
    used = disk.f_blocks - disk.f_bfree
    share = used / max(1, used + disk.f_bavail)
    return DiskUsage(
        share=share,
        free=disk.f_bavail * disk.f_frsize,
        refusing=share >= settings.high_watermark or (refused_before and share >= settings.low_watermark),
    )


class Watermarks:
    """Admits new instances while the disk has room.

    Parameters
    ----------
    settings : SpoolSettings
        Folder and watermarks.
    clock : callable
        Seconds that only go forward; the disk is looked at once in `LOOK_SECONDS` of them.
    """

    def __init__(self, settings: SpoolSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at = -float("inf")
        self._refusing = False
        self._refused = 0

    def admit(self) -> None:
        """Return where there is room; SpoolFull where there is not.

        Raises
        ------
        SpoolFull
            Since the high watermark was reached the disk was not below the low one.
        SpoolUnavailable
            There is no disk.
        """
        with self._lock:
            if self._clock() >= self._look_at:
                self._look()
                self._look_at = self._clock() + LOOK_SECONDS
            self._refused += self._refusing
            if self._refusing:
                raise SpoolFull("the spool's disk is above its watermark")

    def _look(self) -> None:
        mark = self._settings.path / MARK
        disk = _usage(self._settings, refused_before=self._refusing or mark.exists())
        if disk.refusing and not self._refusing:
            logger.error(
                "the disk of %s is %.1f %% full: instances are refused with A700 until it is below %.1f %%",
                self._settings.path,
                100 * disk.share,
                100 * self._settings.low_watermark,
            )
            self._refused = 0
            with suppress(OSError):  # really full: only a restart would not know it
                mark.touch(mode=0o600)
        elif self._refusing and not disk.refusing:
            logger.warning(
                "the disk of %s is %.1f %% full: instances are accepted again; %d were refused",
                self._settings.path,
                100 * disk.share,
                self._refused,
            )
        if not disk.refusing:
            mark.unlink(missing_ok=True)
        self._refusing = disk.refusing
