"""Settings of folders whose files come in as if they had been sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cxr_pacs.sending import FolderDestination
from cxr_pacs.setting_types import FOLDER_SOURCE, Seconds, Table

__all__ = ["DONE", "FAILED", "WatchSettings", "wrong_watches"]

DONE, FAILED = "done", "failed"
"""Folders within a watched one to which its files are moved, where the settings say so."""


class WatchSettings(Table):
    """``[[watch]]``: a folder whose radiographs are taken in."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,48}$")]
    folder: Annotated[Path, Field(strict=False)]
    notice: Literal["events", "polling"] = "events"
    rescan: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    stable: Seconds = 2.0
    move: bool = False

    @property
    def source(self) -> str:
        """As whose its files are known: in routes, quiet periods and the ledger."""
        return FOLDER_SOURCE + self.name


def wrong_watches(
    watches: Sequence[WatchSettings], spool: Path, destinations: Iterable[object]
) -> Iterator[str]:
    """Say, a line for each, which watched folder holds another one, or what the gateway itself writes."""
    folders = [("spool.path", spool)]
    folders += [(f"destination {d.name}", d.folder) for d in destinations if isinstance(d, FolderDestination)]
    folders += [(f"watch {watch.name}", watch.folder) for watch in watches]
    for number, watch in enumerate(watches):
        for name, other in folders:
            inside = other.absolute().resolve().is_relative_to(watch.folder.absolute().resolve())
            if inside and name != f"watch {watch.name}":
                yield f"watch.{number}.folder: {name} ({other}) lies in it: choose folders apart"
