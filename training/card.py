"""The model card: what a bundle is for, what it was made of, what it reaches, and for whom it claims what.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019. It says nothing that the manifest does not.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from cxr_pacs.inference.manifest import MOST_ALIKE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxr_pacs.inference.manifest import Manifest, Maps, Metric
    from training.claims import Verdict

__all__ = ["card"]


def card(manifest: Manifest, verdicts: Sequence[Verdict]) -> str:
    """Write the card of `manifest` as Markdown; `verdicts` say why each class is or is not claimed."""
    return "\n".join(_lines(manifest, verdicts)) + "\n"


def _lines(manifest: Manifest, verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield f"# {manifest.name} {manifest.version}"
    yield ""
    yield "Decision support, never a diagnosis."
    yield ""
    yield f"- Intended use: {manifest.intended_use}"
    yield f"- Maker: {manifest.manufacturer}"
    yield f"- Device UID: {manifest.device_uid}"
    yield f"- Preprocessing: {manifest.preprocessing.identifier}"
    yield f"- Licence of the weights: {manifest.licence}"
    yield from ("", "## For whom what is claimed", "")
    yield "A class is scored only for patients for whom it is claimed; else it is withheld, with the reason."
    yield from ("", "| head | class | cohort | claimed | why |", "|---|---|---|---|---|")
    for verdict in verdicts:
        claimed = "yes" if verdict.claim else "no"
        yield f"| {verdict.head} | {verdict.label} | {verdict.cohort} | {claimed} | {verdict.reason} |"
    yield from ("", "## Limits", "")
    yield from (f"- {limit}" for limit in manifest.limitations)
    yield f"- {_sides(manifest.maps)}"
    yield from ("", "## How it was made", "", manifest.training.procedure, "")
    if manifest.training.held_out:
        yield from (f"Held out: {manifest.training.held_out}.", "")
    yield from ("| collection | images | patients | licences |", "|---|---|---|---|")
    for source in manifest.training.sources:
        licences = ", ".join(source.licences)
        yield f"| {source.citation} | {source.images} | {source.patients} | {licences} |"
    yield from ("", "## Figures", "", "Value [95 % interval, by patient].", "")
    yield from _figures(manifest.metrics)
    yield from ("## Operating points", "")
    for head in manifest.heads:
        for label in head.labels:
            yield f"- {head.name}, {label.name}: {label.threshold:.3f}: {label.chosen}"


def _sides(maps: Maps | None) -> str:
    if maps is None:
        return "How its maps differ from film to film was not measured: no side is read from them."
    found = (
        f"two patients' maps of {maps.label} correlate by {maps.alike:.3f} [{maps.low:.3f}, {maps.high:.3f}] "
        f"({maps.films}: {maps.images} films, {maps.patients} patients)"
    )
    if maps.locate:
        return f"The side of a finding is read from its map: {found}; at most {MOST_ALIKE:g} was asked for."
    return f"No side is read from its maps, for they tell what, hardly where: {found}."


def _figures(metrics: Sequence[Metric]) -> Iterator[str]:
    tables: dict[tuple[str, str], list[Metric]] = defaultdict(list)
    for metric in metrics:
        tables[metric.head, metric.films].append(metric)
    for (head, films), figures in tables.items():
        yield from (f"### {head}, {films}", "", "| figure | value | images | patients |", "|---|---|---|---|")
        for figure in figures:
            interval = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
            yield f"| {figure.name} | {interval} | {figure.images} | {figure.patients} |"
        yield ""
