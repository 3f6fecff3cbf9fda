"""Send what is parked again, and ask again for failed commitments, now that the cause is mended."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cxr_pacs.errors import NothingToShow
from cxr_pacs.gateway import messages, owed
from cxr_pacs.gateway.commitment import ask_again
from cxr_pacs.gateway.commitment_ledger import failed, of_failed
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.telling import peers_told
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

QUEUED, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("uid", nargs="?", metavar="STUDY", help="only those of this Study Instance UID")
    parser.add_argument("--destination", metavar="NAME", help="only those for this destination")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """Queue them; 0, or 1 where there is no ledger or the settings do not know the destination.

    A running gateway sends them at once, another one when it starts. Each is sent under the UID that it had,
    and given up after the same time as a new one.
    """
    settings = load_settings(options.config) if options.config else Settings()
    known = {destination.name for destination in settings.destination}
    told = peers_told(settings)
    names = known | {name for _, name in told}
    if options.destination is not None and options.destination not in names:
        print(f"cxr-pacs: no destination of the settings is called {options.destination}", file=sys.stderr)
        return ERROR
    try:
        with looking(settings) as ledger:
            with ledger.begin() as connection:
                if options.uid is not None:
                    study_history(connection, options.uid)  # says so where nothing of it was received
                parked = owed.parked(connection, options.destination, options.uid)
                failures = connection.execute(of_failed(options.destination, options.uid))
                uncommitted = {(row.study_id, row.destination) for row in failures}
                untold = messages.parked(connection, options.destination, options.uid)
            queued = _queue(ledger, [row for row in parked if row.destination in known])
            tell = _tell(ledger, [row for row in untold if (row.kind, row.peer) in told])
            asked = _ask_again(ledger, sorted(of for of in uncommitted if of[1] in known))
    except NothingToShow as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    print(f"{queued} parked object(s) are sent again")
    if asked:
        print(f"{asked} object(s) are asked for commitment again")
    if tell:
        print(f"{tell} parked message(s) are sent again")
    strangers = [row for row in parked if row.destination not in known]
    strangers_told = [row for row in untold if (row.kind, row.peer) not in told]
    if strangers or strangers_told:
        count = len(strangers) + len(strangers_told)
        print(f"{count} stay parked: their destination is no longer in the settings (see `dismiss`)")
    return QUEUED


def _queue(ledger: Ledger, due: Sequence[owed.Owed]) -> int:
    """Owe each anew and enqueue it, each in one transaction; count those that were still parked."""
    queue = Queue(ledger.engine)
    queued = 0
    try:
        live = queue.live()
        for row in due:
            with ledger.begin() as connection:
                lock_study(connection, row.study_id)  # what was before it may just end
                if (row.work, str(row.id)) not in live and owed.unpark(
                    connection, row.work, row.id, time.time()
                ):
                    attempt = queue.attempts(row.work, row.id) + 1
                    queue.enqueue(connection, row.work, row.id, attempt, partition=row.destination)
                    queued += 1
    finally:
        queue.close()
    return queued


def _tell(ledger: Ledger, due: Sequence[messages.Message]) -> int:
    """Owe each message anew and enqueue it, each in one transaction; count those that were still parked."""
    queue = Queue(ledger.engine)
    queued = 0
    try:
        for row in due:
            with ledger.begin() as connection:
                if messages.unpark(connection, row.id, time.time()):
                    attempt = queue.attempts(messages.TELL, row.id) + 1
                    queue.enqueue(connection, messages.TELL, row.id, attempt, partition=row.peer)
                    queued += 1
    finally:
        queue.close()
    return queued


def _ask_again(ledger: Ledger, groups: Iterable[tuple[int, str]]) -> int:
    """Name failed objects, by study and destination, in new transactions, as if just delivered; count."""
    queue = Queue(ledger.engine)
    asked = 0
    try:
        for study_id, destination in groups:
            with ledger.begin() as connection:
                lock_study(connection, study_id)  # a late report may just come
                objects = failed(connection, study_id, destination)
                anew = [(replace(row, state="waiting", repeats=0), "asked for again") for row in objects]
                if anew:
                    ask_again(connection, queue, (study_id, destination), anew, now=time.time())
                asked += len(anew)
    finally:
        queue.close()
    return asked
