"""``cxr-train explain``: whether a bundle reads lungs: its activation maps, and films with a part hidden."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console

from cxr_pacs.inference import load_bundle, load_engine
from training.cli.options import check_outputs, corpus_options, count, judged_options
from training.contact_sheet import contact_sheet
from training.corpus import CorpusError, manifest_path, read_corpus
from training.explain import explain
from training.explain_document import document, notes, tables
from training.judged import check_held_out, choose, spread_evenly
from training.occlusion import FILLS, View
from training.reader import Reader

if TYPE_CHECKING:
    from training.corpus import Film
    from training.explain import Explanation

__all__ = ["add"]

_NARROWEST = 170


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        parents=[corpus_options(), judged_options()],
        help="show what a bundle reads: activation maps, films without lungs, lungs alone",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="the bundle to explain")
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="DIR",
        help="a bundle whose lung network says where the lungs are (default: the bundle itself)",
    )
    parser.add_argument(
        "--limit", type=count, metavar="N", help="read N films at most, of each class and source in turn"
    )
    parser.add_argument(
        "--fill",
        choices=sorted(FILLS),
        default="blank",
        help="what replaces what is hidden: mid-grey, or a smooth continuation of what is shown "
        "(default: blank)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw films under their maps")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    check_outputs(options.json, options.sheet)
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise CorpusError(f"--sheet {options.sheet}: name a file that ends in .png")
    bundle = load_bundle(options.bundle)
    lungs = load_bundle(options.lungs) if options.lungs else bundle
    if lungs.manifest.lungs is None:
        raise CorpusError(
            f"bundle {lungs.path} has no lung network, so nothing says where the lungs are; "
            "name a bundle that has one with --lungs"
        )
    films, described = _chosen(options, bundle.manifest.training.held_out)
    engine = load_engine(bundle, "auto")
    reader = Reader(engine=engine, segmenter=load_engine(lungs, "auto") if options.lungs else engine)
    digest = hashlib.sha256(manifest_path(options.manifest).read_bytes()).hexdigest()
    found = explain(reader, films, options.fill, f"{digest} {described}")
    _print(found, described)
    if options.json:
        written = json.dumps(document(found), indent=1, ensure_ascii=False)
        options.json.write_text(written + "\n", encoding="utf-8")
    if options.sheet:
        Image.fromarray(contact_sheet(reader, films)).save(options.sheet)


def _chosen(options: argparse.Namespace, held_out: str | None) -> tuple[tuple[Film, ...], str]:
    """Take the films that are asked for, and say in words which they are."""
    chosen = choose(read_corpus(options.manifest), options.split, options.fold, options.fold_seed)
    check_held_out(held_out, chosen.described)
    if options.limit is None:
        return chosen.films, chosen.described
    few = spread_evenly(chosen.films, options.limit)
    return few, f"{chosen.described}, {len(few)} of {len(chosen.films)} films"


def _print(explanation: Explanation, described: str) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _NARROWEST))
    for model in explanation.views[View.WHOLE].evaluation.table.models:
        console.print(f"{model.name} {model.version} ({model.digest[:12]}): {described}", markup=False)
    for table in tables(explanation):
        console.print(table)
    for note in notes(explanation):
        console.print(note, markup=False)
