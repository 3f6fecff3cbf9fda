"""``cxr-train pretrain``: weights that know chest films, before any class is learned."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from training.cli.options import count, seed
from training.corpus import CorpusError
from training.run_folder import PRETRAINING, keep_settings, write_weights

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
    parser.add_argument("--passes", type=count, default=20_000, help="images passed (default: 20000)")
    parser.add_argument("--seed", type=seed, default=20261123)
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
    settings = {
        "task": PRETRAINING,
        "packed": [str(path.resolve()) for path in options.packed],
        "seed": plan.seed,
        "batch": plan.batch,
        "stages": [asdict(stage)],
    }
    keep_settings(options.folder, settings)
    with Progress(options.folder) as progress:
        fit = Fit(films, plan, options.folder, Pretraining(films, plan))
        weights = fit.weights(progress)
    print(write_weights(options.folder, weights))
