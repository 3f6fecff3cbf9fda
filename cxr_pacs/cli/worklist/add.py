"""Add one worklist item, given by its attributes."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterable
from datetime import datetime

from cxr_pacs.cli.worklist.opening import ORIGIN, add_config, opened
from cxr_pacs.errors import RefusedItem
from cxr_pacs.settings import Settings, load_settings
from cxr_pacs.worklist import WorklistItem
from cxr_pacs.worklist.assembling import STEP, assembled, with_identifiers

__all__ = ["configure", "run"]

ADDED, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-m",
        dest="attributes",
        action="append",
        required=True,
        type=_attribute,
        metavar="ATTRIBUTE=VALUE",
        help="by keyword: PatientName=Doe^Jane, ScheduledProcedureStepSequence.Modality=DX. PatientName, "
        "PatientID and ScheduledStationAETitle are needed; IDs are drawn, the start is now, the modality DX",
    )
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Add it, or change the one of the same order and step; 0, or 1 where it is refused."""
    settings = load_settings(options.config)
    try:
        item = _item(options.attributes, settings)
    except RefusedItem as error:
        print(f"cxr-pacs: -m {error}", file=sys.stderr)
        return ERROR
    with opened(settings) as worklist, worklist.begin() as connection:
        put = worklist.put(connection, [item], ORIGIN, time.time())
    done = "added" if put.added else "changed" if put.changed else "was there already"
    said = "; its step is completed, and no query is answered with it" if put.completed else ""
    print(f"{done}: accession number {item.text('AccessionNumber')}, step {item.step_id}{said}")
    return ADDED


def _attribute(text: str) -> tuple[str, str]:
    path, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("not ATTRIBUTE=VALUE")
    return path.strip(), value


def _item(attributes: Iterable[tuple[str, str]], settings: Settings) -> WorklistItem:
    now = datetime.now().astimezone()
    values = {
        "AccessionNumber": f"A{secrets.token_hex(5).upper()}",
        "Modality": "DX",
        "ScheduledProcedureStepStartDate": now.strftime("%Y%m%d"),
        "ScheduledProcedureStepStartTime": now.strftime("%H%M%S"),
    }
    values |= {path.removeprefix(f"{STEP}."): value for path, value in attributes}
    return WorklistItem.of(assembled(with_identifiers(values, settings.site.uid_namespace)))
