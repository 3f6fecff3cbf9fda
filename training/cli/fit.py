"""``cxr-train fit``: the weights of a classifier, in a run folder that can be taken up again."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.corpus import CorpusError
from training.recipe import describe

if TYPE_CHECKING:
    from training.packed import Packed
    from training.recipe import Plan

__all__ = ["add"]

_PACKAGES = ("cxr-pacs", "keras", "numpy", "opencv-python-headless", "tensorflow", "torch", "jax")


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
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies every stage's length")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument(
        "--fold", metavar="K/N", help="leave this fold of a cross-validation by patient out, over all splits"
    )
    parser.add_argument("--fold-seed", type=int, default=0, help="of the folds (default: 0)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training.loop import Fit  # noqa: PLC0415 - Keras is slow to import
    from training.packed import read_packed  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    packed = read_packed(options.packed)
    films = _of_fold(packed, options.fold, options.fold_seed) if options.fold else packed.split("train")
    if not len(films):
        raise CorpusError(f"{options.packed} has no film of split train")
    plan = _plan(options)
    _keep_settings(options.folder, plan, options)
    with Progress(options.folder) as progress:
        weights: dict[str, Any] = {**Fit(films, plan, options.folder).weights(progress)}
    np.savez(options.folder / "weights.npz", **weights)
    print(options.folder / "weights.npz")


def _plan(options: argparse.Namespace) -> Plan:
    from training import recipe  # noqa: PLC0415

    if options.start is None:
        return recipe.from_nothing(options.effort, options.seed)
    from training.transfer import read_start  # noqa: PLC0415

    start = read_start(options.start, recipe.RESNET50)
    print(start.remark, file=sys.stderr)
    return recipe.from_start(start, options.effort, options.seed)


def _of_fold(packed: Packed, fold: str, seed: int) -> Packed:
    from training.splits import fold_rows  # noqa: PLC0415

    rows = fold_rows(packed, fold, seed)
    return packed.rows(rows["train"])


def _keep_settings(folder: Path, plan: Plan, options: argparse.Namespace) -> None:
    """Write how the run was begun; a run begun otherwise is not taken up."""
    settings: dict[str, Any] = {
        "packed": str(options.packed.resolve()),
        "start": str(options.start) if options.start else None,
        "fold": options.fold,
        "fold_seed": options.fold_seed,
        "seed": plan.seed,
        "batch": plan.batch,
        "weight_decay": plan.weight_decay,
        "mean": list(plan.mean),
        "deviation": list(plan.deviation),
        "procedure": describe(plan),
        "stages": [asdict(stage) for stage in plan.stages],
    }
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept.pop("versions", None)
        if other := [name for name, value in settings.items() if kept.get(name) != value]:
            raise CorpusError(f"{folder} holds a run with another {other[0]}; name a new folder")
        return
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    path.write_text(json.dumps({**settings, "versions": versions}, indent=1) + "\n", encoding="utf-8")
