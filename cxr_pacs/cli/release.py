"""Release an image that is held for its order or its procedure step: it is right as it is, and is read."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

from cxr_pacs.errors import CannotReadAgain, NothingToShow
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.order_check import releasable, release
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

DONE, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "uid", metavar="UID", help="a Study Instance UID, or the SOP Instance UID of an image"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without this it is only listed")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """List the images and, with ``--yes``, release them.

    0, or 1 where nothing of the study was received or an original is gone. A running gateway reads them at
    once, another one when it starts. The report does not refer to the order that they contradict.
    """
    settings = load_settings(options.config) if options.config else Settings()
    try:
        with (
            looking(settings) as ledger,
            closing(Queue(ledger.engine)) as queue,
            ledger.begin() as connection,
        ):
            study_history(connection, options.uid)  # says so where nothing of it was received
            held = releasable(connection, options.uid)
            for one in held:
                print(f"held: {one.sop_instance_uid} of study {one.study_instance_uid}")
                print(f"    {one.reason}")
            count = len(held)
            if options.yes:
                spool, now = settings.spool.path, time.time()
                count = sum(release(connection, queue, one.id, spool, now) for one in held)
    except (NothingToShow, CannotReadAgain) as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    what = f"{count} image(s) that are held for their order"
    print(f"{what} were released" if options.yes else f"{what} would be released with --yes")
    return DONE
