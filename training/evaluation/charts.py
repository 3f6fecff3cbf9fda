"""Small charts as SVG text: no library, no file beside the page that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.figures import bins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.evaluation.figures import Judged

__all__ = ["Curve", "confusion_matrix", "plain", "reliability", "roc", "roc_chart"]

_SPOKEN = {"auroc": "AUROC", "ppv": "PPV", "npv": "NPV", "f1": "F1", "covid19": "COVID-19"}
_SIDE, _LEFT, _TOP, _BOTTOM = 190, 42, 30, 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A line of a chart: points [n, 2] in 0..1, a name for the legend, a CSS class for its look."""

    points: NDArray[np.float64]
    name: str
    look: str


def plain(name: str) -> str:
    """Write the name of a class, a row or a figure as people would."""
    kind, _, value = name.partition("=")
    return value or _SPOKEN.get(kind, kind.replace("_", " "))


def roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """
    Points of the ROC curve from (0, 0) to (1, 1): false positive and true positive share, [points, 2].

    Films of equal score enter together, so the area under the straight lines is the AUROC.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found, alarms = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    shares = np.column_stack([alarms / (~positive).sum(), found / positive.sum()])
    return np.vstack([[0.0, 0.0], shares])


def roc_chart(title: str, curves: Sequence[Curve], point: tuple[float, float] | None) -> str:
    """Draw ROC curves and, as a dot, the false and true positive share at the threshold."""
    marks = [_line(curve) for curve in curves]
    if point is not None:
        marks.append(f'<circle class="point" cx="{_x(point[0]):.1f}" cy="{_y(point[1]):.1f}" r="4"/>')
    legend = "".join(
        f'<text class="legend {curve.look}" x="{_x(1) - 4}" y="{_y(0) - 8 - 14 * i}" text-anchor="end">'
        f"{escape(curve.name)}</text>"
        for i, curve in enumerate(reversed(curves))
    )
    return _frame(title, "1 - specificity", "sensitivity", "".join(marks) + legend)


def reliability(title: str, judged: Judged) -> str:
    """Draw the share of right decisions against confidence by bin; each dot's area follows its films."""
    confidence = judged.probabilities.max(axis=1)
    placed, right = bins(confidence), judged.decided == judged.true
    dots = []
    for number in np.unique(placed):
        inside = placed == number
        radius = 2 + 8 * np.sqrt(inside.mean())
        said, was = confidence[inside].mean(), right[inside].mean()
        dots.append(
            f'<circle class="bin" cx="{_x(said):.1f}" cy="{_y(was):.1f}" r="{radius:.1f}">'
            f"<title>{inside.sum()} films: confidence {said:.2f}, right {was:.2f}</title></circle>"
        )
    return _frame(title, "confidence", "share right", "".join(dots))


def confusion_matrix(judged: Judged) -> str:
    """Write the confusion matrix as an HTML table; shades follow the share of each row."""
    counts = judged.confusion
    names = [escape(plain(label)) for label in judged.labels]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = []
    for index, name in enumerate(names):
        total = int(counts[index].sum())
        cells = []
        for column, count in enumerate(counts[index]):
            share = count / total if total else 0.0
            kind = "right" if column == index else "wrong"
            note = f"<small>{100 * share:.1f} %</small>" if total else ""
            cells.append(f'<td class="{kind}" style="--share:{100 * share:.0f}%">{count}{note}</td>')
        body.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="confusion"><thead><tr><th class="corner">true class / read as</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _x(share: float) -> float:
    return _LEFT + share * _SIDE


def _y(share: float) -> float:
    return _TOP + (1 - share) * _SIDE


def _line(curve: Curve) -> str:
    points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in curve.points)
    return f'<polyline class="curve {curve.look}" points="{points}"/>'


def _frame(title: str, across: str, up: str, inside: str) -> str:
    """Put marks into a square with a diagonal, ticks and names of the axes."""
    width, height = _LEFT + _SIDE + 12, _TOP + _SIDE + _BOTTOM
    ticks = "".join(
        f'<text class="tick" x="{_x(t)}" y="{_y(0) + 13}" text-anchor="middle">{t:g}</text>'
        f'<text class="tick" x="{_LEFT - 4}" y="{_y(t) + 3}" text-anchor="end">{t:g}</text>'
        f'<path class="grid" d="M{_x(t)} {_y(0)}V{_y(1)}M{_x(0)} {_y(t)}H{_x(1)}"/>'
        for t in (0, 0.5, 1)
    )
    middle = _y(0.5)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}"><text class="title" x="{_x(0.5)}" y="14" text-anchor="middle">'
        f"{escape(title)}</text>{ticks}"
        f'<path class="diagonal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'
        f'<text class="axis" x="{_x(0.5)}" y="{height - 4}" text-anchor="middle">{across}</text>'
        f'<text class="axis" x="11" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle})">{up}</text>{inside}</svg>'
    )
