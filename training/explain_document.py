"""An explanation as a JSON document, and as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cxr_pacs.inference.manifest import MOST_ALIKE
from cxr_pacs.inference.preprocessing import BLANK
from training.evaluation.document import identity
from training.evaluation.evaluate import INTERVAL
from training.map_shares import SHARES
from training.occlusion import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.evaluation.figures import Figure
    from training.explain import Explanation
    from training.map_shares import MapRow, Spread
    from training.occlusion_figures import Occluded

__all__ = ["document", "notes", "tables"]

_DIGITS = 6
_HEADINGS = {
    "lungs": "in the lungs",
    "fields": "in the fields",
    "even_fields": "even over fields",
    "even_seen": "even over what is seen",
    "even_picture": "even over the picture",
}
_VERDICTS = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "not measured"}


def document(explanation: Explanation) -> dict[str, Any]:
    """
    Make what ``cxr-train explain --json`` writes; what could not be measured is None.

    Returns
    -------
    dict
        ``model`` (name, version, digest), ``manifest`` (digest), ``interval``, ``head``, ``fill`` and
        ``notes``;
        ``maps``: by row ``films``, ``measured``, ``patients`` and by share (`training.map_shares.FilmMap`)
        ``median`` with its interval and quartiles; ``maps_alike``: by leading class ``films``, ``patients``
        and ``correlation`` of two patients' maps;
        ``views``: by view ``films_without_lungs`` and ``rows``, by row ``n``, ``patients``, ``accuracy``,
        ``balanced_accuracy``, ``kept`` and by class ``sensitivity`` and ``auroc``; views that are held only
        of a bundle that asks for the lung fields;
        ``films_left_out``; ``criteria``, each with ``met`` (None: not measured).
    """
    table = explanation.views[View.WHOLE].evaluation.table
    return {
        "model": identity(table.models),
        "manifest": {"digest": table.manifests[0].split()[0] if table.manifests else None},
        "manifests": list(table.manifests),
        "interval": INTERVAL,
        "head": explanation.head,
        "fill": explanation.fill,
        "notes": list(notes(explanation)),
        "maps": {name: _map_row(row) for name, row in explanation.maps.items()},
        "maps_alike": {
            label: {"films": one.images, "patients": one.patients, "correlation": _figure(one.figure)}
            for label, one in explanation.alike.items()
        },
        "views": {
            view.value: {
                "films_without_lungs": occluded.without_lungs,
                "rows": dict(_rows(occluded, explanation.head)),
            }
            for view, occluded in explanation.views.items()
        },
        "films_left_out": explanation.left_out,
        "criteria": [
            {
                "name": criterion.name,
                "figure": _figure(criterion.figure),
                "limit": criterion.limit,
                "asked": "at least" if criterion.at_least else "at most",
                "met": criterion.met,
            }
            for criterion in explanation.criteria
        ],
    }


def notes(explanation: Explanation) -> Iterator[str]:
    """Say in sentences what must be known to read the figures."""
    if explanation.fill == "blank":
        yield f"What is hidden is replaced by P-value {BLANK:g}; the edge tells the shape of what was hidden."
    else:
        yield "What is hidden is replaced by a smooth continuation of what is shown."
    if explanation.fields_only:
        yield (
            "Hidden are the lung fields, or all else. Fields held: the model is told those of the whole "
            "film; else it segments what it is shown anew."
        )
        empty = "; ".join(view.words for view in explanation.empty)
        yield (
            "This model blanks all but the lung fields itself, so that these views say nothing of the "
            f"network: {empty}."
        )
    else:
        yield "Hidden are the lung fields, or all else. This model reads the whole picture."
    if explanation.left_out:
        yield f"In {explanation.left_out} films no lungs were found; they are left out."
    unmapped = explanation.maps["all"].films - explanation.maps["all"].measured - explanation.left_out
    if unmapped:
        yield f"In {unmapped} films nothing argues for the leading class; they have no map."
    for label, one in explanation.alike.items():
        name, figure = label.replace("_", " "), one.figure
        says = (
            "they tell what, hardly where" if figure.value > MOST_ALIKE else "they differ from film to film"
        )
        yield (
            f"Where {name} leads, the maps of two patients correlate by {figure.value:.2f} "
            f"({figure.low:.2f}-{figure.high:.2f}, {one.images} films): {says}."
        )
    for view, occluded in explanation.views.items():
        if occluded.without_lungs:
            yield f"{view.words.capitalize()}: segmentation finds no lungs in {occluded.without_lungs} films."


def tables(explanation: Explanation) -> Iterator[Table]:
    """Make the tables: maps, occlusion, AUROC within the sources, and what is asked for."""
    yield _maps(explanation)
    yield _views(explanation)
    within = _within(explanation)
    if within.row_count:
        yield within
    yield _criteria(explanation)


def _maps(explanation: Explanation) -> Table:
    table = _table("Share of the leading class's activation map: median (quartiles)", "films", "n")
    for name in SHARES:
        table.add_column(_HEADINGS[name], justify="right")
    for name, row in explanation.maps.items():
        spreads = [row.shares.get(share) for share in SHARES]
        table.add_row(escape(name).replace(", ", "\n"), str(row.measured), *map(_quartiles, spreads))
    return table


def _views(explanation: Explanation) -> Table:
    title = (
        f"{explanation.head}: balanced accuracy, accuracy, share of the distance above chance that is kept"
    )
    table = _table(title, "films", "n")
    for view in explanation.views:
        table.add_column(view.words.replace(", ", "\n"), justify="right", no_wrap=True)
    for name, row in explanation.views[View.WHOLE].evaluation.rows.items():
        if explanation.head not in row.heads:
            continue
        cells = []
        for occluded in explanation.views.values():
            figures = occluded.evaluation.rows[name].heads[explanation.head].figures
            shown = (figures["balanced_accuracy", ""], figures["accuracy", ""], occluded.kept[name])
            cells.append("\n".join(map(_line, shown)))
        count = len(row.heads[explanation.head].judged.true)
        table.add_row(escape(name.partition("=")[2] or name), str(count), *cells)
    return table


def _within(explanation: Explanation) -> Table:
    table = _table("AUROC of a class within one source", "source, class")
    rows: dict[str, list[str]] = {}
    for view in explanation.views:
        table.add_column(view.words.replace(", ", "\n"), justify="right", no_wrap=True)
        for source, label, auroc in explanation.within_sources(view):
            rows.setdefault(f"{source}, {label.replace('_', ' ')}", []).append(_line(auroc))
    for name, cells in rows.items():
        table.add_row(escape(name), *cells)
    return table


def _criteria(explanation: Explanation) -> Table:
    table = _table("What a model that reads lungs meets", "", "measured", "asked for", "")
    for criterion in explanation.criteria:
        asked = f"{'at least' if criterion.at_least else 'at most'} {criterion.limit:.2f}"
        table.add_row(escape(criterion.name), _line(criterion.figure), asked, _VERDICTS[criterion.met])
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column(first, overflow="fold", min_width=12)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _quartiles(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"[bold]{spread.median.value:.3f}[/bold]\n{spread.lower:.3f}-{spread.upper:.3f}"


def _line(figure: Figure | None) -> str:
    return "-" if figure is None else f"[bold]{figure.value:.3f}[/bold] {figure.low:.3f}-{figure.high:.3f}"


def _map_row(row: MapRow) -> dict[str, Any]:
    shares = {name: None if (spread := row.shares.get(name)) is None else _spread(spread) for name in SHARES}
    return {"films": row.films, "measured": row.measured, "patients": row.patients, **shares}


def _spread(spread: Spread) -> dict[str, Any]:
    quartiles = [round(spread.lower, _DIGITS), round(spread.upper, _DIGITS)]
    return {"median": _figure(spread.median), "quartiles": quartiles}


def _rows(occluded: Occluded, head: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, row in occluded.evaluation.rows.items():
        if head not in row.heads:
            continue
        judged, figures = row.heads[head].judged, row.heads[head].figures
        by_class = {
            kind: {label: _figure(figures[kind, label]) for label in judged.labels}
            for kind in ("sensitivity", "auroc")
        }
        yield (
            name,
            {
                "n": len(judged.true),
                "patients": int(judged.patients.max()) + 1,
                "accuracy": _figure(figures["accuracy", ""]),
                "balanced_accuracy": _figure(figures["balanced_accuracy", ""]),
                "kept": _figure(occluded.kept.get(name)),
                **by_class,
            },
        )


def _figure(figure: Figure | None) -> dict[str, float] | None:
    if figure is None:
        return None
    ends = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {name: round(value, _DIGITS) for name, value in ends.items()}
