"""``cxr-train fit``: the weights of a classifier, in a run folder that can be taken up again."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.options import effort, seed
from training.corpus import CorpusError
from training.recipe import describe
from training.run_folder import TEACHER, keep_settings, read_settings, read_weights, write_weights

if TYPE_CHECKING:
    from training.packed import Packed
    from training.recipe import Plan
    from training.teacher import Teacher

__all__ = ["add", "films_of", "fit_options", "settings_of"]

_SAME = ("films", "fold", "fold_seed")


def fit_options() -> argparse.ArgumentParser:
    """Parent parser with what a fit is made of: films, run folder, length, seed, fold."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--packed", type=Path, required=True, metavar="FILE.npz", help="of cxr-train pack")
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="run folder")
    parser.add_argument("--effort", type=effort, default=1.0, help="multiplies every stage's length")
    parser.add_argument("--seed", type=seed, default=20261123)
    parser.add_argument(
        "--fold", metavar="K/N", help="leave this fold of a cross-validation by patient out, over all splits"
    )
    parser.add_argument("--fold-seed", type=seed, default=0, help="of the folds (default: 0)")
    return parser


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fit",
        parents=[fit_options()],
        help="fit the network; the same command again goes on after the last whole epoch",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="PATH",
        help="weights to start from: DeepCOVID-XR's or Keras' ResNet50 (.h5), or a bundle's folder; thawed "
        "in stages",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="runs of cxr-train teach on the same films; the network learns what they say on average",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training.loop import Fit  # noqa: PLC0415 - Keras is slow to import
    from training.packed import read_packed  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    packed = read_packed(options.packed)
    films = films_of(packed, options)
    plan, remark = _plan(options)
    settings = settings_of(plan, packed, options, remark)
    settings["start"] = str(options.start) if options.start else None
    task = None
    if options.teacher:
        from training.distillation import Distillation  # noqa: PLC0415

        teachers = [_teacher(path, settings) for path in options.teacher]
        settings["teachers"] = [str(path) for path in options.teacher]
        task = Distillation(films, plan, teachers)
    keep_settings(options.folder, settings)
    with Progress(options.folder) as progress:
        weights = Fit(films, plan, options.folder, task).weights(progress)
    print(write_weights(options.folder, weights))


def films_of(packed: Packed, options: argparse.Namespace) -> Packed:
    """
    Pick the films to fit to.

    Raises
    ------
    CorpusError
        There is none, or no such fold.
    """
    from training.splits import fold_rows  # noqa: PLC0415

    if options.fold:
        return packed.rows(fold_rows(packed, options.fold, options.fold_seed)["train"])
    films = packed.split("train")
    if not len(films):
        raise CorpusError(f"{options.packed} has no film of split train")
    return films


def _plan(options: argparse.Namespace) -> tuple[Plan, str]:
    """Plan the fit, and say where its first weights and its targets come from."""
    from training import recipe  # noqa: PLC0415

    remark = recipe.TAUGHT if options.teacher else ""
    plan = recipe.from_nothing(options.effort, options.seed)
    if options.start is not None:
        from training.transfer import read_start  # noqa: PLC0415

        start = read_start(options.start, recipe.RESNET50)
        print(start.remark, file=sys.stderr)
        if options.fold and start.kind in ("bundle", "pretraining"):
            print(
                f"cxr-train: if {options.start} has seen films of this manifest, fold {options.fold} is not "
                "held out: its figures will flatter",
                file=sys.stderr,
            )
        plan = recipe.from_start(start, options.effort, options.seed)
        remark = " ".join(filter(None, (f"Started from: {start.remark}", remark)))
    if options.teacher:
        plan = replace(plan, stages=recipe.stretched(recipe.DISTILLED, options.effort))
    return plan, remark


def _teacher(path: Path, settings: dict[str, Any]) -> Teacher:
    """Read a teacher that has seen the films of this fit and no others."""
    from training.teacher import Teacher  # noqa: PLC0415

    fitted = read_settings(path)
    if fitted.get("task") != TEACHER:
        raise CorpusError(f"{path} is no run of cxr-train teach")
    if other := [name for name in _SAME if fitted[name] != settings[name]]:
        raise CorpusError(f"the teacher {path} was fitted to other films: its {other[0]} differs")
    mean, deviation = tuple(fitted["mean"]), tuple(fitted["deviation"])
    return Teacher(read_weights(path), mean, deviation, fitted["stages"][-1]["size"])


def settings_of(plan: Plan, packed: Packed, options: argparse.Namespace, remark: str) -> dict[str, Any]:
    """Say how a run is begun; `options` are those of `fit_options`, `remark` joins the procedure."""
    return {
        "packed": str(options.packed.resolve()),
        "films": hashlib.sha256(options.packed.read_bytes()).hexdigest(),
        "preprocessing": packed.preprocessing or None,
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
