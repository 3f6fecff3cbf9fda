"""``cxr-train corpus``: what a manifest holds, and everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.cli.options import check_outputs, corpus_options
from training.corpus import LABELS, scan
from training.splits import SPLITS
from training.survey import survey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.corpus import Problem
    from training.survey import Group, Survey

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "corpus",
        parents=[corpus_options()],
        help="check a manifest and all its images; exit status 1 where there are errors",
    )
    parser.add_argument(
        "--labels", nargs="+", default=LABELS, help=f"may occur (default: {' '.join(LABELS)})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    check_outputs(options.json)
    scanned = scan(options.manifest, options.labels)
    surveyed = survey(scanned)
    console = Console(soft_wrap=True, highlight=False)
    console.print(_table(surveyed.groups))
    _list(console, "errors", surveyed.errors)
    _list(console, "remarks", surveyed.remarks)
    patients = len({film.patient for film in scanned.films})
    console.print(
        f"{scanned.manifest}: {len(scanned.films)} images of {patients} patients, "
        f"{len(surveyed.errors)} errors, {len(surveyed.remarks)} remarks",
        markup=False,
    )
    if options.json:
        options.json.write_text(
            json.dumps(_document(scanned.manifest, surveyed), indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
    return 1 if surveyed.errors else 0


def _table(groups: Sequence[Group]) -> Table:
    cells: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for group in groups:
        cells[group.label, group.source][group.split] = f"{group.images} ({group.patients})"
    splits = [*SPLITS, *sorted({group.split for group in groups} - set(SPLITS))]
    table = Table(title="images (patients)", title_justify="left")
    for name in ("class", "source"):
        table.add_column(name, overflow="fold")
    for name in splits:
        table.add_column(escape(name) or "no split", justify="right")
    for (label, source), row in cells.items():
        table.add_row(escape(label), escape(source), *(row.get(split, "0") for split in splits))
    return table


def _list(console: Console, kind: str, problems: Sequence[Problem]) -> None:
    if problems:
        console.print(f"[bold]{kind}[/bold]")
    for problem in problems:
        console.print(f"line {problem.line}: {problem.text}", markup=False)


def _document(manifest: Path, surveyed: Survey) -> dict[str, object]:
    return {"manifest": str(manifest), **asdict(surveyed)}
