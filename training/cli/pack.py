"""``cxr-train pack``: a corpus made small, as a fit reads it."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

from training.cli.options import check_outputs, corpus_options
from training.corpus import LABELS, CorpusError, read_corpus

__all__ = ["add", "preprocessing"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pack", parents=[corpus_options()], help="crop every film to its lung fields, into one small file"
    )
    parser.add_argument("--lungs", type=Path, required=True, metavar="FILE.npz", help="of cxr-train lungs")
    parser.add_argument(
        "--whole", action="store_true", help="keep whole films: for a bundle that sees everything"
    )
    parser.add_argument("--labels", nargs="+", default=LABELS, help="may occur in the manifest")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training import lungs, packed, views  # noqa: PLC0415 - Keras is slow to import

    check_outputs(options.out)
    segment = lungs.segmenter(lungs.lung_network(options.lungs))
    view = views.whole_view if options.whole else views.lung_view
    made = packed.pack(
        read_corpus(options.manifest, tuple(options.labels)),
        lambda picture: view(picture, views.lungs_of(picture, segment, lungs.LAYOUT.size), packed.SIDE),
    )
    made = replace(made, preprocessing=preprocessing(None if options.whole else options.lungs))
    packed.write_packed(made, options.out)
    found = (made.views[..., 2] > 0).any(axis=(1, 2))
    print(f"{options.out}: {len(made)} films, lungs found in {found.sum()}")


def preprocessing(lungs: Path | None) -> str:
    """Name what is made of a film, with the file that finds its lungs or with none; see `training.packed`."""
    if lungs is None:
        return "squash-area"
    try:
        return f"lung-fields-area {hashlib.sha256(lungs.read_bytes()).hexdigest()}"
    except OSError as error:
        raise CorpusError(f"{lungs} cannot be read ({error.strerror}); see cxr-train lungs") from error
