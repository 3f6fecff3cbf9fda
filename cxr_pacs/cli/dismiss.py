"""Let be what is parked, held, not reported or not committed, so that it asks for a person no more."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cxr_pacs.errors import NothingToShow
from cxr_pacs.gateway import messages, owed
from cxr_pacs.gateway.dismissal import (
    FailedCommitment,
    HeldInstance,
    dismiss_commitment,
    dismiss_held,
    failed_commitments,
    held,
    report_the_others,
)
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.settings import Settings, load_settings
from cxr_pacs.worklist.performed import lock_step

__all__ = ["configure", "run"]

DONE, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "uid",
        nargs="?",
        metavar="UID",
        help="only what is of this Study Instance UID, or the image of this SOP Instance UID",
    )
    parser.add_argument(
        "--destination",
        metavar="NAME",
        help="only objects for this destination, of the settings or not; no instances",
    )
    parser.add_argument("--yes", action="store_true", help="do it; without this it is only listed")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """List it and, with ``--yes``, dismiss it; 0, or 1 where nothing of the study was received.

    A dismissed object is not sent again; a dismissed instance is skipped, and its study reported without it;
    a dismissed commitment is not asked for again. The files stay, and `why` tells it.
    """
    settings = load_settings(options.config) if options.config else Settings()
    try:
        with looking(settings) as ledger:
            with ledger.begin() as connection:
                if options.uid is not None:
                    study_history(connection, options.uid)  # says so where nothing of it was received
                parked = owed.parked(connection, options.destination, options.uid)
                instances = held(connection, options.uid) if options.destination is None else ()
                uncommitted = failed_commitments(connection, options.destination, options.uid)
                untold = messages.parked(connection, options.destination, options.uid)
                _list(parked, instances, uncommitted, untold)
                if options.yes:
                    now = time.time()
                    for row in parked:
                        owed.dismiss(connection, row.work, row.id, now)
                    for one in instances:
                        dismiss_held(connection, one, now)
                    report_the_others(connection, instances)
                    for failed in uncommitted:
                        dismiss_commitment(connection, failed, now)
            if options.yes:
                _dismiss_messages(ledger, untold)
    except NothingToShow as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    what = (
        f"{len(parked)} parked object(s), {len(instances)} held or unreported instance(s) "
        f"and {len(uncommitted)} failed commitment(s)"
    )
    if untold:
        what = f"{len(untold)} parked message(s), {what}"
    print(f"{what} were dismissed" if options.yes else f"{what} would be dismissed with --yes")
    return DONE


def _dismiss_messages(ledger: Ledger, untold: Sequence[messages.Message]) -> None:
    """Dismiss each, and have what is next in its line sent, each in one transaction."""
    queue = Queue(ledger.engine)
    try:
        for told in untold:
            with ledger.begin() as connection:
                lock_step(connection, told.line)  # an operation on it may be owed at this moment
                if not messages.dismiss(connection, told, time.time()):
                    continue
                following = messages.head(connection, told.peer, told.line)
                if following is not None and following.state == "waiting":
                    attempt = queue.attempts(messages.TELL, following.id) + 1
                    queue.enqueue(connection, messages.TELL, following.id, attempt, partition=told.peer)
    finally:
        queue.close()


def _list(
    parked: Sequence[owed.Owed],
    instances: Sequence[HeldInstance],
    uncommitted: Sequence[FailedCommitment],
    untold: Sequence[messages.Message],
) -> None:
    for row in parked:
        print(f"parked for {row.destination}: {row.sop_instance_uid} of study {row.study_instance_uid}")
        print(f"    {row.reason}")
    for one in instances:
        print(f"{one.fate}: {one.sop_instance_uid} of study {one.study_instance_uid}")
        print(f"    {one.reason}")
    for failed in uncommitted:
        what = f"{failed.sop_instance_uid} of study {failed.study_instance_uid}"
        print(f"not committed by {failed.destination}: {what}")
        print(f"    {failed.reason}")
    for told in untold:
        behind = ", and what waits behind it" if told.begins else ""
        print(f"parked for {told.peer}: {told.what}{behind}")
        print(f"    {told.reason}")
