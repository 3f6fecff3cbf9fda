"""Documents and pictures as one HTML page that needs nothing else: no script, and nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from cxr_pacs.evidence.content_tree import Item, without_repetition
from cxr_pacs.evidence.header_facts import Facts
from cxr_pacs.evidence.reading_back import Document, Finding

__all__ = ["Picture", "as_page"]

# Nothing is fetched and nothing runs, whatever a value holds.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE: Final = """
:root { color-scheme: light dark; --soft: #5a6470; --line: #d5dae0; --box: #f4f6f8; --sure: #8a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --soft: #a4aeb9; --line: #3a424b; --box: #1d2329; --sure: #ffbe3c; }
}
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1.25rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
article + article { margin-top: 3rem; border-top: 2px solid var(--line); padding-top: 2rem; }
.status { color: var(--sure); font-weight: 600; margin: .25rem 0 1.25rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; }
dt, .soft { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .45rem 1rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td p { margin: 0; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.soft { font-size: .875rem; }
p, li, dd, figcaption { white-space: pre-line; }
details { background: var(--box); border-radius: .4rem; padding: .6rem 1rem; margin-top: 1.75rem; }
summary { cursor: pointer; font-weight: 600; }
.tree, .tree ul { list-style: none; padding-left: 1.1rem; margin: .15rem 0;
  border-left: 1px solid var(--line); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; margin-top: 1.75rem; }
figure { margin: 0; flex: 0 1 auto; max-width: min(100%, 28rem); }
figure:only-child { max-width: min(100%, 44rem); }
figure img { max-width: 100%; height: auto; display: block; background: #000; }
@media (max-width: 44rem) {
  tr { display: flex; flex-wrap: wrap; gap: 0 1.25rem; border-bottom: 1px solid var(--line); }
  th, td { border: 0; padding: .2rem 0; }
  td:first-child, td:last-child { flex-basis: 100%; }
}
@media print { body { max-width: none; margin: 0; } details { background: none; padding: 0; } }
"""


# What a reader makes sure of before he reads a finding.
_FIRST: Final = frozenset({"Patient", "Study"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture to stand in the page: PNG, and what it is."""

    png: bytes
    caption: str


def as_page(documents: Sequence[Document], pictures: Sequence[Picture], notes: Sequence[Facts]) -> str:
    """Write a page of `documents`, then `pictures`, then `notes`.

    Every text is escaped; the content tree of each document is folded away below it.
    """
    title = documents[0].title if documents else "Study"
    figures = "".join(map(_figure, pictures))
    # The pictures stand in the last document, before what only few will look up.
    body = [_article(document, "") for document in documents[:-1]]
    body.append(_article(documents[-1], figures) if documents else figures)
    body += map(_facts, notes)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _article(document: Document, figures: str) -> str:
    parts = [f"<h1>{escape(document.title)}</h1>"]
    if document.status:
        parts.append(f'<p class="status">{escape(document.status)}</p>')
    parts.append(_grid(facts for facts in document.facts if facts.heading in _FIRST))
    for image, findings in document.by_image().items():
        parts.append(_table(image, findings))
    if document.remarks:
        told = "".join(f"<li>{_named(item)}</li>" for item in document.remarks)
        parts.append(f"<h2>Remarks</h2><ul>{told}</ul>")
    if figures:
        parts.append(f'<div class="figures">{figures}</div>')
    parts.append(_grid(facts for facts in document.facts if facts.heading not in _FIRST))
    if document.tree is not None:
        tree = _tree(without_repetition(document.tree))
        parts.append(f'<details><summary>The whole content</summary><ul class="tree">{tree}</ul></details>')
    return f"<article>{''.join(parts)}</article>"


def _grid(several: Iterable[Facts]) -> str:
    return f'<div class="facts">{"".join(map(_facts, several))}</div>'


def _facts(facts: Facts) -> str:
    lines = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in facts.lines)
    return f"<section><h2>{escape(facts.heading)}</h2><dl>{lines}</dl></section>"


def _table(image: str, findings: Sequence[Finding]) -> str:
    columns = [
        list(dict.fromkeys(item.label for finding in findings for item in kind(finding)))
        for kind in (_measurements, _evaluations)
    ]
    names = ["Finding", *columns[0], *columns[1], "Remarks"]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(_row(finding, columns[0], columns[1]) for finding in findings)
    of = f'<p class="soft">Image {escape(image)}</p>' if image else ""
    return f"<h2>Findings</h2>{of}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _measurements(finding: Finding) -> tuple[Item, ...]:
    return finding.measurements


def _evaluations(finding: Finding) -> tuple[Item, ...]:
    return finding.evaluations


def _row(finding: Finding, measured: Sequence[str], answered: Sequence[str]) -> str:
    tracking = escape(finding.tracking).replace("/", "/<wbr>")
    cells = [f'{escape(finding.name)}<p class="soft">{tracking}</p>']
    cells += ["<br>".join(_briefs(finding.measurements, name)) or "-" for name in measured]
    cells += ["<br>".join(_briefs(finding.evaluations, name)) or "-" for name in answered]
    cells.append("".join(f'<p class="soft">{escape(remark)}</p>' for remark in finding.remarks))
    kinds = ["", *(' class="number"' for _ in (*measured, *answered)), ""]
    return "<tr>" + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, cells, strict=True)) + "</tr>"


def _briefs(items: Sequence[Item], name: str) -> Iterator[str]:
    return (escape(item.brief) for item in items if item.label == name)


def _named(item: Item) -> str:
    if not item.value:
        return escape(item.label)
    return f'<span class="soft">{escape(item.label)}:</span> {escape(item.value)}'


def _tree(item: Item) -> str:
    below = "".join(map(_tree, item.children))
    return f"<li>{_named(item)}{f'<ul>{below}</ul>' if below else ''}</li>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f'<figcaption class="soft">{caption}</figcaption></figure>'
    )
