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
from cxr_pacs.gateway.looking import looking
from cxr_pacs.settings import Settings, load_settings

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
        with looking(settings) as ledger, ledger.begin() as connection:
            if options.uid is not None:
                study_history(connection, options.uid)  # says so where nothing of it was received
            parked = owed.parked(connection, options.destination, options.uid)
            instances = held(connection, options.uid) if options.destination is None else ()
            uncommitted = failed_commitments(connection, options.destination, options.uid)
            untold = messages.parked(connection, options.destination, options.uid)
            _list(parked, instances, uncommitted, untold)
            if options.yes:
                now = time.time()
                for told in untold:
                    messages.dismiss(connection, told, now)
                for row in parked:
                    owed.dismiss(connection, row.work, row.id, now)
                for one in instances:
                    dismiss_held(connection, one, now)
                report_the_others(connection, instances)
                for failed in uncommitted:
                    dismiss_commitment(connection, failed, now)
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
        print(f"parked for {told.peer}: {told.what}")
        print(f"    {told.reason}")
