"""Remove worklist items: they are cancelled, or with --forget deleted."""

from __future__ import annotations

import argparse
import sys
import time

from cxr_pacs.cli.worklist.opening import add_config, opened
from cxr_pacs.settings import load_settings
from cxr_pacs.worklist.removal import cancel, forget

__all__ = ["configure", "run"]

REMOVED, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("order", metavar="ACCESSION|STEP-ID", help="an accession number or a step ID")
    parser.add_argument("--forget", action="store_true", help="delete them, whatever their state")
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Remove the items of the order; 0, or 1 where there is none or a step has begun or ended."""
    with opened(load_settings(options.config)) as worklist, worklist.begin() as connection:
        found = worklist.of_order(connection, accession_number=options.order, step_id=options.order)
        if not found:
            print("cxr-pacs: no item has this accession number or step ID", file=sys.stderr)
            return ERROR
        if options.forget:
            forget(connection, found)
            print(f"{len(found)} forgotten")
            return REMOVED
        removed = cancel(connection, found, time.time())
    print(f"{len(removed.cancelled)} cancelled")
    for one in removed.kept:
        said = "stays (--forget deletes it): it is"
        print(f"cxr-pacs: step {one.item.step_id} {said} {one.state}", file=sys.stderr)
    return ERROR if removed.kept else REMOVED
