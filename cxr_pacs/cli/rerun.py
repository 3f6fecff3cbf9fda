"""Read a study again with the model and the settings that the gateway runs with now."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cxr_pacs.errors import CannotReadAgain, NothingToShow
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import ask_again, outcome
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

DONE, ERROR, NOT_DONE = 0, 1, 3
_LOOK_SECONDS = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("uid", metavar="STUDY", help="Study Instance UID")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="for what comes of it (default: 60)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """Ask for it, and say what came of it.

    0 when it is done, 3 when it is not yet, or left no report, 1 when it cannot be done. A running gateway
    does it at once, another one when it starts. Where nothing has changed, nothing is sent; else a new report
    names the earlier one as its predecessor.
    """
    settings = load_settings(options.config) if options.config else Settings()
    try:
        with looking(settings) as ledger:
            rerun_id, count = _ask(ledger, options.uid, settings.spool.path)
            print(f"{count} instance(s) of study {options.uid} are read again", flush=True)
            came = _wait(ledger, rerun_id, time.monotonic() + options.wait)
    except (NothingToShow, CannotReadAgain) as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    if came is None:
        print(f"This is not done yet: a gateway must run; cxr-pacs why {options.uid} tells what came of it")
        return NOT_DONE
    said, failed = came
    print(said)
    return NOT_DONE if failed else DONE


def _ask(ledger: Ledger, uid: str, spool: Path) -> tuple[int, int]:
    queue = Queue(ledger.engine)
    try:
        with ledger.begin() as connection:
            return ask_again(connection, queue, uid, spool, time.time())
    finally:
        queue.close()


def _wait(ledger: Ledger, rerun_id: int, until: float) -> tuple[str, bool] | None:
    while True:
        with ledger.begin() as connection:
            came = outcome(connection, rerun_id)
        if came is not None or time.monotonic() > until:
            return came
        time.sleep(_LOOK_SECONDS)
