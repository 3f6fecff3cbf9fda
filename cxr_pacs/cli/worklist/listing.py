"""List worklist items, by state, day and modality."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxr_pacs.cli.worklist.opening import add_config, opened
from cxr_pacs.settings import load_settings
from cxr_pacs.worklist import StepState, StoredItem
from cxr_pacs.worklist.listing import Wanted, listed

__all__ = ["configure", "run"]

_DAYS = re.compile(r"(\d{8})(?:-(\d{8}))?")
# Wide enough for every column where the output is no terminal.
_FILE_WIDTH = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--state", type=_state, choices=list(StepState), help="items in this state only")
    parser.add_argument(
        "--date", type=_days, metavar="DATE", help="scheduled then: 20261124, 20261124-20261130 or today"
    )
    parser.add_argument("--modality", metavar="CODE", help="of this modality only, such as DX")
    parser.add_argument("--json", action="store_true", help="with each data set in the DICOM JSON model")
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    """Print them in the order of their start; 0."""
    first, last = options.date or ("", "")
    wanted = Wanted(state=options.state, first_day=first, last_day=last, modality=options.modality or "")
    with opened(load_settings(options.config)) as worklist, worklist.begin() as connection:
        found = listed(connection, wanted)
    if options.json:
        print(json.dumps([_document(one) for one in found], indent=1))
    else:
        _print_table(found)
    return 0


def _state(text: str) -> StepState:
    return StepState(text.upper())


def _days(text: str) -> tuple[str, str]:
    if text == "today":
        today = date.today().strftime("%Y%m%d")  # noqa: DTZ011  a scheduled day is the site's own
        return today, today
    if not (days := _DAYS.fullmatch(text)):
        raise argparse.ArgumentTypeError("neither YYYYMMDD nor YYYYMMDD-YYYYMMDD nor today")
    return days[1], days[2] or days[1]


def _document(one: StoredItem) -> dict[str, object]:
    return {
        "id": one.id,
        "origin": one.origin,
        "state": one.state,
        "changed_at": one.changed_at,
        "dataset": one.item.dataset.to_json_dict(),
    }


def _print_table(found: Sequence[StoredItem]) -> None:
    table = Table()
    for heading in ("start", "modality", "station", "accession", "step", "patient ID", "patient"):
        table.add_column(heading)
    for heading in ("state", "origin"):
        table.add_column(heading)
    for one in found:
        item = one.item
        day, time = item.start[:8], item.start[8:12]
        table.add_row(
            f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:]}",
            *map(
                escape,
                (
                    item.modality,
                    ", ".join(item.stations),
                    item.text("AccessionNumber"),
                    item.step_id,
                    item.text("PatientID"),
                    item.text("PatientName"),
                    one.state,
                    one.origin,
                ),
            ),
        )
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    console.print(table)
    console.print(f"{len(found)} items", highlight=False)
