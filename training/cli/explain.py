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
from training.cli.options import corpus_options
from training.contact_sheet import contact_sheet
from training.corpus import CorpusError, manifest_path, read_corpus
from training.explain import explain
from training.explain_document import document, notes, tables
from training.occlusion import FILLS, View
from training.reader import Reader
from training.splits import spread_evenly

if TYPE_CHECKING:
    from training.corpus import Film
    from training.explain import Explanation

__all__ = ["add"]

_SPLITS = ("test", "val", "train", "val+test", "all")
_NARROWEST = 170


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        parents=[corpus_options()],
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
        "--split",
        choices=_SPLITS,
        default="test",
        help="films to read, by the manifest's column split; `all` ignores the column (default: test)",
    )
    parser.add_argument(
        "--limit", type=_count, metavar="N", help="read N films at most, of each class and source in turn"
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
    for path in (options.json, options.sheet):
        if path is not None and not path.parent.is_dir():
            raise CorpusError(f"{path} cannot be written: there is no folder {path.parent}")
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise CorpusError(f"--sheet {options.sheet}: name a file that ends in .png")
    bundle = load_bundle(options.bundle)
    lungs = load_bundle(options.lungs) if options.lungs else bundle
    if lungs.manifest.lungs is None:
        raise CorpusError(
            f"bundle {lungs.path} has no lung network, so nothing says where the lungs are; "
            "name a bundle that has one with --lungs"
        )
    films = _chosen(options)
    engine = load_engine(bundle, "auto")
    reader = Reader(engine=engine, segmenter=load_engine(lungs, "auto") if options.lungs else engine)
    digest = hashlib.sha256(manifest_path(options.manifest).read_bytes()).hexdigest()
    limited = f", {len(films)} films" if options.limit else ""
    described = f"split {options.split}{limited}"
    found = explain(reader, films, options.fill, f"{digest} {described}")
    _print(found, described)
    if options.json:
        written = json.dumps(document(found), indent=1, ensure_ascii=False)
        options.json.write_text(written + "\n", encoding="utf-8")
    if options.sheet:
        Image.fromarray(contact_sheet(reader, films)).save(options.sheet)


def _chosen(options: argparse.Namespace) -> tuple[Film, ...]:
    wanted = options.split.split("+")
    films = tuple(
        film for film in read_corpus(options.manifest) if options.split == "all" or film.split in wanted
    )
    if not films:
        raise CorpusError(
            f"the manifest has no film of split {options.split}; --split all ignores the column"
        )
    return films if options.limit is None else spread_evenly(films, options.limit)


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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give 1 or more")
    return int(text)
