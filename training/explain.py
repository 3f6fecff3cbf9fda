"""What a model reads: where its activation maps lie, and what it can without the lungs or with them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from training.claims import FEWEST
from training.corpus import CorpusError
from training.evaluation import evaluate
from training.evaluation.figures import Figure
from training.evaluation.table import cases_of
from training.map_likeness import ShownMap, likeness
from training.map_shares import FilmMap, map_rows, measure_map
from training.occlusion import FILLS, View
from training.occlusion_figures import Occluded, kept_above_chance
from training.scoring import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cxr_pacs.inference import Findings
    from training.corpus import Film
    from training.map_likeness import Likeness
    from training.map_shares import MapRow
    from training.reader import Reader

__all__ = [
    "LEAST_IN_LUNGS",
    "LEAST_KEPT",
    "LEAST_LOST",
    "MOST_AUROC",
    "Criterion",
    "Explanation",
    "explain",
]

LEAST_IN_LUNGS = 0.70  # median share of the activation map in the lung mask
LEAST_LOST = 0.5  # of balanced accuracy's distance above chance, lungs blanked
LEAST_KEPT = 0.8  # of the same, lungs only
MOST_AUROC = 0.75  # within one source, lungs blanked


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One condition that a model which reads lungs meets.

    Attributes
    ----------
    name : str
        What is measured.
    figure : Figure or None
        None where it could not be measured.
    limit : float
    at_least : bool
        Whether `limit` is the least that is asked for; else it is the most.
    """

    name: str
    figure: Figure | None
    limit: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """Whether the value itself, not its interval, is on the right side; None where there is none."""
        if self.figure is None:
            return None
        return self.figure.value >= self.limit if self.at_least else self.figure.value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """All that was found.

    Attributes
    ----------
    head : str
        The head that was judged: that which decides among the most classes.
    fill : str
        What was put in place of what was hidden, one of `training.occlusion.FILLS`.
    fields_only : bool
        Whether the bundle blanks all but the lung fields itself.
    maps : mapping of str to MapRow
        By row: ``all``, ``class=…``, ``source=…``, ``class=…, source=…``.
    alike : mapping of str to Likeness
        By leading class: how much the maps of two patients are alike.
    views : mapping of View to Occluded
        Judged on the films in which lungs were found; those that are held only of a bundle that asks for
        the lung fields.
    left_out : int
        Films without lungs.
    """

    head: str
    fill: str
    fields_only: bool
    maps: Mapping[str, MapRow]
    alike: Mapping[str, Likeness]
    views: Mapping[View, Occluded]
    left_out: int

    @property
    def empty(self) -> tuple[View, ...]:
        """Views whose figures follow from the preprocessing, whatever the network does.

        With the fields held, a bundle that blanks all but them sees in *lungs only* what it sees anyway, and
        in *lungs blanked* an even square where that is what hides them.
        """
        return (View.BLANKED_HELD, View.ONLY_HELD) if self.fill == "blank" else (View.ONLY_HELD,)

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What a model that reads lungs meets."""
        return tuple(self._criteria())

    def _criteria(self) -> Iterator[Criterion]:
        share = self.maps["all"].shares.get("lungs")
        yield Criterion(
            name="median share of the activation map in the lungs",
            figure=None if share is None else share.median,
            limit=LEAST_IN_LUNGS,
            at_least=True,
        )
        for view, occluded in self.views.items():
            if view is View.WHOLE or view in self.empty:
                continue
            kept = occluded.kept.get("all")
            if not view.hides_lungs:
                name = f"{view.words}: share of balanced accuracy above chance that is kept"
                yield Criterion(name=name, figure=kept, limit=LEAST_KEPT, at_least=True)
                continue
            lost = kept and Figure(value=1 - kept.value, low=1 - kept.high, high=1 - kept.low)
            name = f"{view.words}: share of balanced accuracy above chance that is lost"
            yield Criterion(name=name, figure=lost, limit=LEAST_LOST, at_least=True)
            for source, label, auroc in self.within_sources(view, FEWEST):
                name = f"{view.words}: AUROC of {label.replace('_', ' ')} within {source}"
                yield Criterion(name=name, figure=auroc, limit=MOST_AUROC, at_least=False)

    def within_sources(self, view: View, fewest: int = 1) -> Iterator[tuple[str, str, Figure]]:
        """Source, class, and its AUROC against the rest, of every source with `fewest` films of both."""
        for name, row in self.views[view].evaluation.rows.items():
            if not name.startswith("source=") or self.head not in row.heads:
                continue
            head = row.heads[self.head]
            for index, label in enumerate(head.judged.labels):
                positives = int((head.judged.true == index).sum())
                figure = head.figures["auroc", label]
                if min(positives, len(head.judged.true) - positives) >= fewest and figure is not None:
                    yield name.removeprefix("source="), label, figure


def explain(reader: Reader, films: Sequence[Film], fill: str = "blank", manifest: str = "") -> Explanation:
    """
    Measure the maps and every view of `films`; a terminal shows a progress bar.

    Parameters
    ----------
    reader : Reader
    films : sequence of Film
        At least one.
    fill : str
        One of `training.occlusion.FILLS`.
    manifest : str
        Digest of the manifest that they come from, and which of its films they are.

    Raises
    ------
    CorpusError
        There is no lung network, or no lungs are found in any film.
    """
    console = Console(stderr=True)
    bar = track(films, "Explaining", console=console, transient=True, disable=not console.is_terminal)
    maps: list[FilmMap] = []
    shown: list[ShownMap] = []
    occluded: list[Film] = []
    said: dict[View, list[Findings]] = {view: [] for view in View if reader.fields_only or not view.held}
    lost = dict.fromkeys(said, 0)
    for film, case in zip(bar, cases_of(films), strict=True):
        reading = reader.read(film.p_values())
        shown.append(ShownMap(patient=case.patient, label=reading.shown.label, cells=reading.saliency.cells))
        known = FilmMap(case=case, shown=reading.shown)
        maps.append(measure_map(known, reading.saliency, reading.lungs, reading.inside))
        if reading.fields is None:
            continue
        occluded.append(film)
        said[View.WHOLE].append(reading.analysis.findings)
        for view in (view for view in said if view is not View.WHOLE):
            analysis = view.analyse(reader.engine, reading.picture, reading.fields, FILLS[fill])
            said[view].append(analysis.findings)
            lost[view] += analysis.lungs is not None and not analysis.lungs.any()
    if not occluded:
        raise CorpusError(f"no lungs were found in any of the {len(films)} films, so none can be hidden")
    head = maps[0].shown.head
    evaluations = {view: evaluate(tabulate(occluded, told, manifest)) for view, told in said.items()}
    whole = evaluations[View.WHOLE]
    return Explanation(
        head=head,
        fill=fill,
        fields_only=reader.fields_only,
        maps=map_rows(maps),
        alike=likeness(shown),
        views={
            view: Occluded(
                evaluation=evaluation,
                kept=kept_above_chance(whole, evaluation, head),
                without_lungs=lost[view],
            )
            for view, evaluation in evaluations.items()
        },
        left_out=len(films) - len(occluded),
    )
