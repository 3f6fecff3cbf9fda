"""``cxr-train evaluate``: the figures of a bundle, beside what trivial baselines reach on the same films."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cxr_pacs.inference import load_bundle, load_engine
from training.baselines import fit_baselines
from training.cli.options import check_outputs, corpus_options, judged_options
from training.corpus import CorpusError, manifest_path, read_corpus
from training.evaluation import ScoreTable, evaluate, pool, read_table, write_table
from training.evaluation.document import document
from training.evaluation.mistakes import picture_of, worst_mistakes
from training.evaluation.summary import tables
from training.judged import check_held_out, choose
from training.report import page
from training.scoring import activation, score

if TYPE_CHECKING:
    from cxr_pacs.inference import Engine
    from training.corpus import Film
    from training.evaluation import Evaluation

__all__ = ["add"]

_NARROWEST = 150


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """What was judged: scores, films as far as at hand, the engine if one ran; and in words what it is."""

    table: ScoreTable
    films: tuple[Film, ...]
    engine: Engine | None
    described: str


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        parents=[corpus_options(required=False), judged_options()],
        help="measure a bundle: figures with intervals, beside trivial baselines",
    )
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--bundle", type=Path, metavar="DIR", help="the bundle to measure")
    judged.add_argument(
        "--scores-from",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure scores that --scores wrote; several files, of different films, are pooled",
    )
    parser.add_argument(
        "--baseline-manifest",
        type=Path,
        metavar="PATH",
        help="fit the trivial baselines on this manifest's split train (default: that of --manifest, or what "
        "is not in the fold)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page with figures and pictures")
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="write scores, labels and patient_id of the films as NPZ, for --scores-from",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    check_outputs(options.json, options.html, options.scores)
    judged = _pooled(options) if options.scores_from else _scored(options)
    evaluation = evaluate(judged.table)
    _print(evaluation, judged.described)
    if options.scores:
        write_table(judged.table, options.scores)
    if options.json:
        written = json.dumps(document(evaluation), indent=1, ensure_ascii=False)
        options.json.write_text(written + "\n", encoding="utf-8")
    if options.html:
        options.html.write_text(_html(evaluation, judged), encoding="utf-8")


def _scored(options: argparse.Namespace) -> _Judged:
    """Score the films of the split, with the model and with baselines."""
    if options.manifest is None:
        raise CorpusError("name a manifest with --manifest, or set CXR_DATA")
    bundle = load_bundle(options.bundle)
    films = read_corpus(options.manifest)
    chosen = choose(films, options.split, options.fold, options.fold_seed)
    judged, training, described = chosen.films, chosen.training, chosen.described
    check_held_out(bundle.manifest.training.held_out, described)
    if options.baseline_manifest is not None:
        training = tuple(film for film in read_corpus(options.baseline_manifest) if film.split == "train")
    engine = load_engine(bundle, "auto")
    digest = hashlib.sha256(manifest_path(options.manifest).read_bytes()).hexdigest()
    table = score(bundle, judged, f"{digest} {described}", engine=engine)
    baselines = fit_baselines(training, judged, {head.head: head.labels for head in table.heads})
    return _Judged(table=table.with_baselines(baselines), films=judged, engine=engine, described=described)


def _pooled(options: argparse.Namespace) -> _Judged:
    """Read scores; the films only where pictures of them are wanted."""
    table = pool([read_table(path) for path in options.scores_from])
    films: tuple[Film, ...] = ()
    if options.html and options.manifest is not None:
        films = read_corpus(options.manifest)
    number = len(options.scores_from)
    described = "scores of 1 file" if number == 1 else f"scores of {number} files, pooled"
    return _Judged(table=table, films=films, engine=None, described=described)


def _html(evaluation: Evaluation, judged: _Judged) -> str:
    engine = judged.engine
    explain = None if engine is None else lambda film, head, label: activation(engine, film, head, label)
    mistakes = [
        (mistake, picture_of(mistake, judged.films, explain)) for mistake in worst_mistakes(judged.table)
    ]
    return page(evaluation, judged.described, mistakes)


def _print(evaluation: Evaluation, described: str) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _NARROWEST))
    for model in evaluation.table.models:
        console.print(f"{model.name} {model.version} ({model.digest[:12]}): {described}", markup=False)
    for table in tables(evaluation):
        console.print(table)
    if not evaluation.table.baselines:
        console.print("No trivial baseline was measured: there were no training films of other patients.")
    console.print("Decision support, never a diagnosis.")
