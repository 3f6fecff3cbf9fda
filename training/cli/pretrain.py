"""``cxr-train pretrain``: weights that know chest films, before any class is learned."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import CorpusError

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pretrain", help="fit features without classes, to start `fit` from; takes up where it stopped"
    )
    parser.add_argument(
        "--packed",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE.npz",
        help="of cxr-train pack; their split train is used, whatever the labels",
    )
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="run folder")
    parser.add_argument("--passes", type=int, default=20_000, help="images passed (default: 20000)")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training import packed, recipe  # noqa: PLC0415 - Keras is slow to import
    from training.loop import Fit  # noqa: PLC0415
    from training.pretraining import Pretraining  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    films = packed.joined([packed.read_packed(path).split("train") for path in options.packed])
    plan = recipe.from_nothing(1.0, options.seed)
    stage = replace(plan.stages[0], passes=options.passes)
    plan = replace(plan, stages=(stage,), batch=4 * plan.batch)
    if len(films) < plan.batch // 2:
        raise CorpusError(f"{len(films)} films of split train are fewer than {plan.batch // 2}")
    options.folder.mkdir(parents=True, exist_ok=True)
    with Progress(options.folder) as progress:
        fit = Fit(films, plan, options.folder, Pretraining(films, plan))
        weights: dict[str, Any] = {**fit.weights(progress)}
    np.savez(options.folder / "weights.npz", **weights)
    print(options.folder / "weights.npz")
