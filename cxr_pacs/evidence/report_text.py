"""A document as plain text for a terminal or a file, 100 characters wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from cxr_pacs.evidence.content_tree import Item, without_repetition
from cxr_pacs.evidence.header_facts import Facts
from cxr_pacs.evidence.reading_back import Document, Finding

__all__ = ["as_text", "facts_as_text"]

WIDTH: Final = 100


def as_text(document: Document) -> str:
    """Write out header, findings, remarks and the whole content tree.

    Every value and every meaning of the tree occurs; what all measurement groups share occurs once.
    """
    blocks = ["\n".join(line for line in (document.title, document.status) if line)]
    blocks += [facts_as_text(facts) for facts in document.facts]
    blocks += ["\n".join(_findings(image, of_image)) for image, of_image in document.by_image().items()]
    if document.remarks:
        blocks.append("\n".join(["Remarks", *(line for item in document.remarks for line in _remark(item))]))
    if document.tree is not None:
        blocks.append("\n".join(["Content", *_tree(without_repetition(document.tree), 1)]))
    return "\n\n".join(blocks) + "\n"


def facts_as_text(facts: Facts) -> str:
    """One heading with its labels and values."""
    column = 2 + max(len(label) for label, _ in facts.lines)
    lines = [
        line for label, value in facts.lines for line in _wrapped(f"  {label:<{column}}", value, 2 + column)
    ]
    return "\n".join([facts.heading, *lines])


def _findings(image: str, findings: Sequence[Finding]) -> Iterator[str]:
    yield f"Findings in image {image}" if image else "Findings"
    for finding in findings:
        tracking = f"[{finding.tracking}]" if finding.tracking not in {"", finding.name} else ""
        said = [f"{item.label} {item.brief}" for item in finding.measurements]
        said += [f"{item.label}: {item.brief}" for item in finding.evaluations]
        yield from _wrapped("  ", " ".join(part for part in (finding.name, tracking) if part), 4)
        yield from _wrapped("      ", ", ".join(said), 8)
        for remark in finding.remarks:
            yield from _wrapped("      ", remark, 8)


def _remark(item: Item) -> list[str]:
    return _wrapped("  - ", f"{item.label}: {item.value}", 4)


def _tree(item: Item, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield from _wrapped(indent, f"{item.label}: {item.value}" if item.value else item.label, 2 * depth + 4)
    for child in item.children:
        yield from _tree(child, depth + 1)


def _wrapped(prefix: str, text: str, indent: int) -> list[str]:
    """`text` behind `prefix`, its further lines behind `indent` blanks; UIDs and digests are never cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        first = prefix if not lines else " " * indent
        room = max(WIDTH, indent + 40)
        lines += textwrap.wrap(
            paragraph,
            room,
            initial_indent=first,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first.rstrip()]
    return lines
