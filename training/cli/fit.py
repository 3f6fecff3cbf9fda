"""``cxr-train fit``: the weights of a classifier, in a run folder that can be taken up again."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.options import effort, seed
from training.corpus import CorpusError
from training.recipe import describe
from training.run_folder import keep_settings, write_weights

if TYPE_CHECKING:
    from training.packed import Packed
    from training.recipe import Plan

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fit", help="fit the network; the same command again goes on after the last whole epoch"
    )
    parser.add_argument("--packed", type=Path, required=True, metavar="FILE.npz", help="of cxr-train pack")
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="run folder")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="PATH",
        help="weights to start from: DeepCOVID-XR's or Keras' ResNet50 (.h5), or a bundle's folder; thawed "
        "in stages",
    )
    parser.add_argument("--effort", type=effort, default=1.0, help="multiplies every stage's length")
    parser.add_argument("--seed", type=seed, default=20261123)
    parser.add_argument(
        "--fold", metavar="K/N", help="leave this fold of a cross-validation by patient out, over all splits"
    )
    parser.add_argument("--fold-seed", type=seed, default=0, help="of the folds (default: 0)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training.loop import Fit  # noqa: PLC0415 - Keras is slow to import
    from training.packed import read_packed  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    packed = read_packed(options.packed)
    films = _of_fold(packed, options.fold, options.fold_seed) if options.fold else packed.split("train")
    if not len(films):
        raise CorpusError(f"{options.packed} has no film of split train")
    plan, remark = _plan(options)
    keep_settings(options.folder, _settings(plan, packed, options, remark))
    with Progress(options.folder) as progress:
        weights = Fit(films, plan, options.folder).weights(progress)
    print(write_weights(options.folder, weights))


def _plan(options: argparse.Namespace) -> tuple[Plan, str]:
    """Plan the fit, and say where its first weights come from."""
    from training import recipe  # noqa: PLC0415

    if options.start is None:
        return recipe.from_nothing(options.effort, options.seed), ""
    from training.transfer import read_start  # noqa: PLC0415

    start = read_start(options.start, recipe.RESNET50)
    print(start.remark, file=sys.stderr)
    if options.fold and start.kind in ("bundle", "pretraining"):
        print(
            f"cxr-train: if {options.start} has seen films of this manifest, fold {options.fold} is not "
            "held out: its figures will flatter",
            file=sys.stderr,
        )
    return recipe.from_start(start, options.effort, options.seed), f"Started from: {start.remark}"


def _of_fold(packed: Packed, fold: str, seed: int) -> Packed:
    from training.splits import fold_rows  # noqa: PLC0415

    rows = fold_rows(packed, fold, seed)
    return packed.rows(rows["train"])


def _settings(plan: Plan, packed: Packed, options: argparse.Namespace, remark: str) -> dict[str, Any]:
    """Say how the run is begun."""
    return {
        "packed": str(options.packed.resolve()),
        "films": hashlib.sha256(options.packed.read_bytes()).hexdigest(),
        "preprocessing": packed.preprocessing or None,
        "start": str(options.start) if options.start else None,
        "fold": options.fold,
        "fold_seed": options.fold_seed,
        "seed": plan.seed,
        "batch": plan.batch,
        "weight_decay": plan.weight_decay,
        "mean": list(plan.mean),
        "deviation": list(plan.deviation),
        "procedure": " ".join(filter(None, (describe(plan), remark))),
        "stages": [asdict(stage) for stage in plan.stages],
    }
