"""The little Markdown that the statement needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["cell", "named", "table"]


def cell(text: object) -> str:
    """`text` as one cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|") or " "


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; ``None.`` where it has no rows."""
    body = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    if not body:
        return "None."
    return "\n".join(["| " + " | ".join(map(cell, head)) + " |", "|" + " --- |" * len(head), *body])


def named(heading: str, level: int, *blocks: str) -> str:
    """Put blocks under a heading."""
    return "\n\n".join([f"{'#' * level} {heading}", *blocks])
