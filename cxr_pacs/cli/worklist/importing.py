"""Import worklist items from files: DICOM (.wl), DICOM JSON, CSV."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cxr_pacs.cli.worklist.opening import ORIGIN, add_config, opened
from cxr_pacs.settings import load_settings
from cxr_pacs.worklist.files import read_items

__all__ = ["configure", "run"]

ALL_IMPORTED, FAULTS = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="NAME.csv (UTF-8; its first line names the columns by attribute keyword, of which PatientName, "
        "PatientID, AccessionNumber, ScheduledStationAETitle, Modality, ScheduledProcedureStepStartDate and "
        "ScheduledProcedureStepStartTime are needed), NAME.json (DICOM JSON model: one item or an array), "
        "else DICOM. Each file is taken whole, or not at all",
    )
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Import each file that has no fault; 0, or 1 where one has, with every fault named."""
    settings = load_settings(options.config)
    status = ALL_IMPORTED
    with opened(settings) as worklist:
        for path in options.files:
            found = read_items(path, settings.site.uid_namespace)
            for fault in found.faults:
                print(f"cxr-pacs: {path}: {fault}", file=sys.stderr)
            if found.faults:
                print(f"cxr-pacs: {path}: nothing of it was imported", file=sys.stderr)
                status = FAULTS
                continue
            with worklist.begin() as connection:
                put = worklist.put(connection, found.items, ORIGIN, time.time())
            print(f"{path}: {put.added} added, {put.changed} changed, {put.unchanged} as before")
            if put.completed:
                said = "of these are of completed steps, and no query is answered with them"
                print(f"cxr-pacs: {path}: {put.completed} {said}", file=sys.stderr)
    return status
