"""``cxr-train evaluate``: measure a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from training.cli.options import corpus_options
from training.corpus import read_corpus, squash_square
from training.splits import split_by_patient

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("evaluate", parents=[corpus_options()], help="measure a bundle")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from cxr_pacs.inference import load_bundle, load_engine  # noqa: PLC0415 - TensorFlow is slow to import
    from training.evaluate import HeadScores, report  # noqa: PLC0415

    parts = split_by_patient(read_corpus(options.manifest))
    bundle = load_bundle(options.bundle)
    engine = load_engine(bundle, "auto")
    judged = (*parts["val"], *parts["test"])
    said = {film: engine.analyse(squash_square(film.pixels, engine.input_size)).findings for film in judged}
    heads = [
        HeadScores.of(
            head, {film: np.array([s.score for s in said[film].head(head.name)]) for film in judged}
        )
        for head in bundle.manifest.heads
    ]
    for metric in report(heads, parts):
        print(f"{metric.head} {metric.films} {metric.name} {metric.value:.3f}")
