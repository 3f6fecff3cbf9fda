"""The principal figures of an evaluation as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from training.evaluation.evaluate import Evaluation, Gain, Row
    from training.evaluation.figures import Figure, Key

__all__ = ["tables"]


def tables(evaluation: Evaluation) -> Iterator[Table]:
    """Make a table for each head: a line for each row of the evaluation, intervals beneath the figures."""
    for head in evaluation.table.heads:
        table = Table(title=f"{head.head}, with 95 % intervals", title_justify="left", show_lines=True)
        table.add_column("films", overflow="fold", min_width=12)
        for name in ("n", "accuracy", "balanced"):
            table.add_column(name, justify="right")
        table.add_column("best trivial baseline", justify="right", no_wrap=True)
        for label in head.labels:
            table.add_column(f"{label.replace('_', ' ')}\nsensitivity, AUROC", justify="right", no_wrap=True)
        for name, row in evaluation.rows.items():
            if head.head in row.heads:
                table.add_row(*_cells(name, row, head.head, head.labels))
        yield table


def _cells(name: str, row: Row, head: str, labels: tuple[str, ...]) -> Iterator[str]:
    figures = row.heads[head].figures
    yield escape(name.partition("=")[2] or name)
    yield str(len(row.heads[head].judged.true))
    yield _stacked(figures["accuracy", ""])
    yield _stacked(figures["balanced_accuracy", ""])
    yield _baseline(row.gains.get(head, {}))
    for label in labels:
        yield f"{_line(figures['sensitivity', label])}\n{_line(figures['auroc', label])}"


def _baseline(gains: Mapping[Key, Gain]) -> str:
    """Name the best baseline by balanced accuracy, else by accuracy, its figure and the model's lead."""
    for kind, unit in (("balanced_accuracy", "balanced"), ("accuracy", "accuracy")):
        if (gain := gains.get((kind, ""))) is not None:
            lead = f"lead {gain.value:+.3f} \\[{gain.low:+.3f}, {gain.high:+.3f}]"
            return f"{escape(gain.baseline)}\n{gain.baseline_value:.3f} {unit}\n{lead}"
    return "-"


def _stacked(figure: Figure | None) -> str:
    return "-" if figure is None else f"[bold]{figure.value:.3f}[/bold]\n{figure.low:.3f}-{figure.high:.3f}"


def _line(figure: Figure | None) -> str:
    return "-" if figure is None else f"[bold]{figure.value:.3f}[/bold] {figure.low:.3f}-{figure.high:.3f}"
