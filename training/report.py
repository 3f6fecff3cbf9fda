"""An evaluation as one HTML page that needs nothing beside it: no script, no network, no file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from training.claims import verdicts
from training.evaluation.charts import Curve, confusion_matrix, plain, reliability, roc, roc_chart
from training.evaluation.document import identity
from training.evaluation.evaluate import INTERVAL, judge
from training.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.evaluation import Evaluation
    from training.evaluation.evaluate import Gain, HeadFigures, Row
    from training.evaluation.figures import Figure, Judged, Key
    from training.evaluation.mistakes import Mistake, Picture

__all__ = ["page"]

_NO_BASELINES = (
    "No trivial baseline was measured: there were no training films of other patients to fit one on. Without "
    "one, nothing here shows that lungs were read, and no class is claimed."
)


def page(evaluation: Evaluation, films: str, mistakes: Sequence[tuple[Mistake, Picture | None]]) -> str:
    """
    Write the page.

    Parameters
    ----------
    evaluation : Evaluation
    films : str
        In words, which films were judged.
    mistakes : sequence of (Mistake, Picture or None)
        The worst ones; a picture is None where the film is not at hand.
    """
    table = evaluation.table
    model = identity(table.models)
    title = f"{model['name']} {model['version']}"
    sections = [
        _principal(evaluation),
        _leads(evaluation),
        _confusions(evaluation),
        _curves(evaluation),
        _reliabilities(evaluation),
        _claims(evaluation, films),
        _mistakes(mistakes),
        _details(evaluation),
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>Evaluation of {escape(title)}</h1>"
        '<p class="banner">Decision support, never a diagnosis.</p>'
        f"<p>{escape(films)}: {len(table.cases)} films of {evaluation.patients('all')} patients. "
        f"In brackets: {escape(INTERVAL)}.</p>"
        f'<p class="digest">model {escape(model["digest"])}'
        + "".join(f"<br>manifest {escape(manifest)}" for manifest in table.manifests)
        + f"</p></header><main>{''.join(sections)}</main></body></html>\n"
    )


def _td(figure: Figure | None) -> str:
    if figure is None:
        return '<td class="none">-</td>'
    return f"<td><b>{figure.value:.3f}</b><small>[{figure.low:.3f}, {figure.high:.3f}]</small></td>"


def _one_each(labels: Sequence[str]) -> Sequence[str]:
    """Classes whose AUROC is worth naming: the two of a head of two have the same."""
    return labels if len(labels) > 2 else labels[:1]


def _names(columns: Sequence[Key]) -> str:
    return "".join(f"<th>{plain(name)}<br>{escape(plain(label))}</th>" for name, label in columns)


def _table(names: str, lines: Sequence[str]) -> str:
    return (
        f'<div class="wide"><table><thead><tr><th>films</th><th>n</th>{names}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _principal(evaluation: Evaluation) -> str:
    parts = []
    for head in evaluation.table.heads:
        columns = [("accuracy", ""), ("balanced_accuracy", "")]
        columns += [("sensitivity", label) for label in head.labels]
        columns += [("auroc", label) for label in _one_each(head.labels)]
        lines = [
            f"<tr>{_start(name, row, head.head)}"
            f"{''.join(_td(row.heads[head.head].figures[key]) for key in columns)}</tr>"
            for name, row in _rows(evaluation, head.head)
        ]
        parts.append(f"<h3>{escape(head.head)}</h3>{_table(_names(columns), lines)}")
    return f"<section><h2>Principal figures</h2>{''.join(parts)}</section>"


def _leads(evaluation: Evaluation) -> str:
    title = "<h2>Lead over the best trivial baseline</h2>"
    if not evaluation.table.baselines:
        return f"<section>{title}<p>{_NO_BASELINES}</p></section>"
    parts = []
    for head in evaluation.table.heads:
        columns = [("accuracy", ""), ("balanced_accuracy", "")]
        columns += [("auroc", label) for label in _one_each(head.labels)]
        lines = [
            f"<tr>{_start(name, row, head.head)}"
            f"{''.join(_lead(row.gains.get(head.head, {}).get(key)) for key in columns)}</tr>"
            for name, row in _rows(evaluation, head.head)
        ]
        parts.append(f"<h3>{escape(head.head)}</h3>{_table(_names(columns), lines)}")
    return (
        f"<section>{title}<p>Logistic regressions that see no lungs: an 8 x 8 thumbnail, the outer border, "
        "the image's size. Named is the best of them on the same films, by each figure; the lead's interval "
        "resamples both together. Green: surely above it.</p>"
        f"{''.join(parts)}</section>"
    )


def _lead(gain: Gain | None) -> str:
    if gain is None:
        return '<td class="none">-</td>'
    return (
        f'<td><b class="{"sure" if gain.low > 0 else "unsure"}">{gain.value:+.3f}</b>'
        f"<small>[{gain.low:+.3f}, {gain.high:+.3f}]</small>"
        f"<small>{escape(gain.baseline)}<br>{gain.baseline_value:.3f}</small></td>"
    )


def _start(name: str, row: Row, head: str) -> str:
    return f"<th>{escape(plain(name))}</th><td>{len(row.heads[head].judged.true)}</td>"


def _rows(evaluation: Evaluation, head: str) -> Iterator[tuple[str, Row]]:
    return ((name, row) for name, row in evaluation.rows.items() if head in row.heads)


def _confusions(evaluation: Evaluation) -> str:
    parts = []
    for head in evaluation.table.heads:
        matrices = "".join(
            f"<figure><figcaption>{escape(plain(name))}</figcaption>"
            f"{confusion_matrix(row.heads[head.head].judged)}</figure>"
            for name, row in _rows(evaluation, head.head)
        )
        parts.append(f'<h3>{escape(head.head)}</h3><div class="flow">{matrices}</div>')
    return f"<section><h2>Confusion matrices</h2>{''.join(parts)}</section>"


def _curves(evaluation: Evaluation) -> str:
    parts = []
    for head in evaluation.table.heads:
        charts = []
        for name, row in _rows(evaluation, head.head):
            if name.startswith("source="):
                continue
            figures = row.heads[head.head]
            charts += [
                _roc(evaluation, row, figures, (name, head.head, label)) for label in _one_each(head.labels)
            ]
        parts.append(f'<h3>{escape(head.head)}</h3><div class="flow">{"".join(charts)}</div>')
    return (
        "<section><h2>ROC, one class against the rest</h2><p>Dashed: the best trivial baseline on the same "
        f"films. Dot: at the threshold.</p>{''.join(parts)}</section>"
    )


def _roc(evaluation: Evaluation, row: Row, figures: HeadFigures, which: tuple[str, str, str]) -> str:
    name, head, label = which
    area = figures.figures["auroc", label]
    if area is None:
        return ""
    curves = [_curve(figures.judged, label, f"model {area.value:.3f}", "model")]
    gain = row.gains.get(head, {}).get(("auroc", label))
    if gain is not None:
        best = next(b for b in evaluation.table.baselines if b.title == gain.baseline)
        scores = next(h for h in best.heads if h.head == head)
        judged = judge(evaluation.table, scores, row.films)
        if judged is not None:
            curves.append(_curve(judged, label, f"{gain.baseline} {gain.baseline_value:.3f}", "baseline"))
    found = figures.figures["sensitivity_at_threshold", label]
    cleared = figures.figures["specificity_at_threshold", label]
    point = None if found is None or cleared is None else (1 - cleared.value, found.value)
    return roc_chart(f"{plain(name)}: {plain(label)}", curves, point)


def _curve(judged: Judged, label: str, name: str, look: str) -> Curve:
    index = judged.labels.index(label)
    return Curve(points=roc(judged.probabilities[:, index], judged.true == index), name=name, look=look)


def _reliabilities(evaluation: Evaluation) -> str:
    charts = []
    for head in evaluation.table.heads:
        for name, row in _rows(evaluation, head.head):
            if name.startswith("source="):
                continue
            error = row.heads[head.head].figures["calibration_error", ""]
            value = "" if error is None else f", error {error.value:.3f}"
            charts.append(reliability(f"{head.head}, {plain(name)}{value}", row.heads[head.head].judged))
    return (
        "<section><h2>Reliability</h2><p>How often the likeliest class was right, by the score it had; on "
        f'the diagonal scores mean what they say.</p><div class="flow">{"".join(charts)}</div></section>'
    )


def _claims(evaluation: Evaluation, films: str) -> str:
    lines = "".join(
        f"<tr><td>{escape(v.cohort)}</td><td>{escape(v.head)}</td><td>{escape(plain(v.label))}</td>"
        f"<td>{'supported' if v.claim else 'withheld'}</td><td>{escape(v.reason)}</td></tr>"
        for v in verdicts(evaluation, films)
    )
    return (
        "<section><h2>What may be claimed</h2><p>Only where the AUROC is surely above the best trivial "
        "baseline's on at least 30 films of the class and 30 others.</p>"
        '<div class="wide"><table class="words"><thead><tr><th>cohort</th>'
        f"<th>head</th><th>class</th><th>claim</th><th>why</th></tr></thead><tbody>{lines}</tbody></table>"
        "</div></section>"
    )


def _mistakes(mistakes: Sequence[tuple[Mistake, Picture | None]]) -> str:
    if not mistakes:
        return "<section><h2>Worst mistakes</h2><p>None: no film was taken for another class.</p></section>"
    figures = []
    for mistake, picture in mistakes:
        addresses = [] if picture is None else [a for a in (picture.film, picture.map) if a is not None]
        images = "".join(f'<img src="{address}" alt="">' for address in addresses)
        figures.append(
            f'<figure class="mistake"><div>{images or "<p>picture not at hand</p>"}</div><figcaption>'
            f"<b>{escape(plain(mistake.case.label))}</b> read as <b>{escape(plain(mistake.decided))}</b> "
            f"({mistake.score:.2f} against {mistake.true_score:.2f})<br>"
            f"<small>{escape(mistake.case.file)}, {escape(mistake.case.source)}</small></figcaption></figure>"
        )
    return (
        "<section><h2>Worst mistakes</h2><p>Where the model was surest of a wrong class; beside each film "
        f'the activation map of that class.</p><div class="flow">{"".join(figures)}</div></section>'
    )


def _details(evaluation: Evaluation) -> str:
    """Every figure of the model and of the baselines, folded away."""
    parts = []
    for name, row in evaluation.rows.items():
        titled = [("model", row.heads), *row.baselines.items()]
        for head in row.heads:
            columns = [(title, heads[head].figures) for title, heads in titled if head in heads]
            lines = "".join(
                f"<tr><th>{escape(plain(key[0]))} {escape(plain(key[1]))}</th>"
                + "".join(_td(figures[key]) for _, figures in columns)
                + "</tr>"
                for key in row.heads[head].figures
            )
            names = "".join(f"<th>{escape(title)}</th>" for title, _ in columns)
            parts.append(
                f"<details><summary>{escape(plain(name))}, {escape(head)}: "
                f"{len(row.heads[head].judged.true)} films</summary>"
                '<div class="wide"><table><thead><tr><th></th>'
                f"{names}</tr></thead><tbody>{lines}</tbody></table></div></details>"
            )
    return f"<section><h2>All figures</h2>{''.join(parts)}</section>"
