"""What ``cxr-pacs analyse`` prints: one JSON document, a table of few files, or a summary of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxr_pacs.gateway.bulk.journal import Count, Row
from cxr_pacs.gateway.bulk.outcome import FileOutcome

__all__ = ["FEW", "print_few", "print_many", "write_json"]

FEW = 50
"""As many files have a line each."""

_MOST_ERRORS = 50
_TITLE = "AI-derived, not a diagnosis"
_COLOURS = {"accept": "green", "skip": "dim", "hold": "yellow"}


def write_json(rows: Iterable[Row], out: Path, stream: TextIO) -> None:
    """Write one JSON document, file by file."""
    parted = '{"instances": [\n'
    for row in rows:
        if row.outcome is not None:
            stream.write(parted + json.dumps(_document(row, row.outcome, out), indent=1))
            parted = ",\n"
    stream.write((parted if parted.startswith("{") else "") + "\n]}\n")


def _document(row: Row, outcome: FileOutcome, out: Path) -> dict[str, Any]:
    return {
        "path": row.file.name,
        **outcome.told(),
        "objects": [str(out / name) for name in (*outcome.objects, *row.report)],
    }


def print_few(console: Console, rows: Iterable[Row]) -> None:
    """Print a table with a line for each file."""
    table = _table(_TITLE, "file", "decision", "rung", "reason, or scores")
    for row in rows:
        outcome = row.outcome
        if outcome is not None:
            decision = outcome.decision
            failed = outcome.error or row.report_error
            error = f"\n[red]{escape(failed)}[/red]" if failed else ""
            table.add_row(
                escape(Path(row.file.name).name),
                _coloured(decision.outcome),
                escape(decision.rung),
                escape(decision.reason + _scores(outcome)) + error,
            )
    console.print(table)


def print_many(console: Console, counts: Iterable[Count], rows: Callable[[], Iterator[Row]]) -> None:
    """Print how many files were decided how, with an example each; and what could not be read or failed."""
    table = _table(_TITLE, "files", "decision", "rung", "reason", "first of them")
    table.columns[0].justify = "right"
    errors = _table("Errors", "file", "what went wrong")
    for count in counts:
        name = escape(Path(count.first).name)
        table.add_row(
            f"{count.files:,}", _coloured(count.decision), escape(count.rung), escape(count.reason), name
        )
    more = 0
    for row in rows():
        failed = row.report_error if row.outcome is None else row.outcome.error or row.report_error
        if failed and errors.row_count < _MOST_ERRORS:
            errors.add_row(escape(row.file.name), f"[red]{escape(failed)}[/red]")
        elif failed:
            more += 1
    console.print(table)
    if errors.row_count:
        console.print(errors)
    if more:
        console.print(f"and {more:,} errors more")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", ratio=1 if column == columns[-1] else None)
    return table


def _coloured(decision: str) -> str:
    return f"[{_COLOURS[decision]}]{decision}[/{_COLOURS[decision]}]"


def _scores(outcome: FileOutcome) -> str:
    heads = dict.fromkeys(score.head for score in outcome.scores)
    told = [
        f"{head}: " + ", ".join(f"{s.label} {s.score:.0%}" for s in outcome.scores if s.head == head)
        for head in heads
    ]
    withheld = [f"{one.head}: {one.label} withheld. {one.reason}" for one in outcome.withheld]
    return "".join(f"\n{line}" for line in (*told, *withheld, *outcome.quality))
