"""Fetch from an archive the chest radiographs that the gateway missed."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from cxr_pacs.errors import NothingToShow, PermanentError, TransientError
from cxr_pacs.gateway.fetching import Fetched, Fetcher, archives, local_time
from cxr_pacs.gateway.forwarding import Forwarding
from cxr_pacs.gateway.intake import Intake
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.missing import Look
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.service import storage_service
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.study import hasten_reports
from cxr_pacs.gateway.takeover import local_names
from cxr_pacs.gateway.watermark import Watermarks
from cxr_pacs.settings import ArchiveSettings, Settings, load_settings

__all__ = ["configure", "run"]

WHOLE, ERROR, INCOMPLETE = 0, 1, 3
_DATE_ONLY = 10  # characters of 2026-11-23


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--since",
        type=_first_moment,
        required=True,
        metavar="TIME",
        help="Study Date and Time, local: 2026-11-23T06:00 or 2026-11-23; studies without a time are found "
        "on whole days only",
    )
    parser.add_argument("--until", type=_last_moment, metavar="TIME", help="the same; without it, all since")
    parser.add_argument("--from", dest="archive", metavar="NAME", help="an [[archive]]; else all of them")
    parser.add_argument("--dry-run", action="store_true", help="ask only, and tell what would be fetched")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (TOML)")


def run(options: argparse.Namespace) -> int:
    """Fetch; 0 when nothing is missing any more, 3 when something is, 1 when an archive could not be asked.

    A running gateway analyses what came at once, another one when it starts.
    """
    settings = load_settings(options.config)
    if options.until is not None and options.until < options.since:
        print("cxr-pacs: --until is before --since", file=sys.stderr)
        return ERROR
    asked = archives(settings, options.archive)
    try:
        with _fetcher(settings) as fetcher:
            return max(_from(fetcher, archive, options) for archive in asked)
    except NothingToShow as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR


@contextmanager
def _fetcher(settings: Settings) -> Iterator[Fetcher]:
    with looking(settings) as ledger:
        queue = Queue(ledger.engine)
        try:
            spool = Spool(settings.spool.path)
            site = Site(settings=settings, ledger=ledger, spool=spool, queue=queue, clock=time.time)
            admit = Watermarks(settings.spool, time.monotonic).admit
            namespace = settings.site.uid_namespace
            intake = Intake(ledger, spool, admit, Forwarding(site).schedule, namespace, time.time)
            released = partial(_released, settings, ledger, queue)
            storage = storage_service(settings.dicom, intake.receive, released)
            # Not under the names of gateways, of which one may just start again.
            with spool.place(f"fetch-{name}" for name in local_names()):
                yield Fetcher(settings, ledger, storage, time.time)
        finally:
            queue.close()


def _released(settings: Settings, ledger: Ledger, queue: Queue, sop_instance_uids: tuple[str, ...]) -> None:
    hasten_reports(ledger, queue, settings, sop_instance_uids, time.time())


def _from(fetcher: Fetcher, archive: ArchiveSettings, options: argparse.Namespace) -> int:
    try:
        found = fetcher.look(archive, options.since, options.until)
    except (PermanentError, TransientError) as error:
        print(f"cxr-pacs: {archive.name}: {error}", file=sys.stderr)
        return ERROR
    _tell_look(archive.name, found)
    if options.dry_run:
        for study in found.missing:
            print(f"  would fetch {len(study.images)} image(s) of study {study.uid}")
        return INCOMPLETE if found.missing else WHOLE
    fetched = fetcher.fetch(archive, found)
    _tell_fetched(fetched)
    if archive.method == "move" and not fetched.whole:
        print(
            "  C-MOVE brings images to the gateway's own port: it must be running, and known to the archive"
        )
    return WHOLE if fetched.whole else INCOMPLETE


def _tell_look(name: str, found: Look) -> None:
    images = sum(len(study.images) for study in found.missing)
    print(f"{name}: {found.studies} studies, {len(found.missing)} with missing images ({images})")
    for (level, reason), count in sorted(Counter((o.level, o.reason) for o in found.left_out).items()):
        print(f"  left out: {count} {level}: {reason}")


def _tell_fetched(fetched: Fetched) -> None:
    for study in fetched.studies:
        problem = f": {study.problem}" if study.problem else ""
        print(f"  study {study.uid}: {study.came} of {study.wanted} images came{problem}")
    if fetched.postponed:
        print(f"  {fetched.postponed} studies are left: run it again (fetch.most_studies limits each run)")


def _first_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else local_time(moment.timestamp())


def _last_moment(text: str) -> datetime:
    moment = _first_moment(text)
    return moment.replace(hour=23, minute=59, second=59) if len(text) <= _DATE_ONLY else moment
