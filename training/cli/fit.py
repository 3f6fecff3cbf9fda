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
from training.run_folder import keep_settings, read_settings, read_weights, write_weights

if TYPE_CHECKING:
    from training.packed import Packed
    from training.recipe import Plan
    from training.teacher import Teacher
    from training.transfer import Start

__all__ = ["add"]

_SAME = ("films", "fold", "fold_seed")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fit", help="fit the network; the same command again goes on after the last whole epoch"
    )
    parser.add_argument("--packed", type=Path, required=True, metavar="FILE.npz", help="of cxr-train pack")
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="run folder")
    parser.add_argument("--effort", type=effort, default=1.0, help="multiplies every stage's length")
    parser.add_argument("--seed", type=seed, default=20261123)
    parser.add_argument(
        "--fold", metavar="K/N", help="leave this fold of a cross-validation by patient out, over all splits"
    )
    parser.add_argument("--fold-seed", type=seed, default=0, help="of the folds (default: 0)")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="PATH",
        help="weights to start from: DeepCOVID-XR's or Keras' ResNet50 (.h5), or the folder of a bundle of "
        "one network; thawed in stages. EfficientNet-Lite0 starts from its weights for ImageNet (.pth), by "
        "default those of the extra `photographs`, or from a bundle",
    )
    parser.add_argument(
        "--network",
        choices=("resnet50", "efficientnet-lite0"),
        default="resnet50",
        help="to be fitted (default: resnet50)",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="other runs of cxr-train fit, on the same films; the network learns what they say on average",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training.loop import Fit  # noqa: PLC0415 - Keras is slow to import
    from training.packed import read_packed  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    packed = read_packed(options.packed)
    films = _films(packed, options)
    plan, remark = _plan(options)
    settings = _settings(plan, packed, options, remark) | {"fitted_to": len(films)}
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


def _films(packed: Packed, options: argparse.Namespace) -> Packed:
    """Pick the films to fit to."""
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

    lite = options.network == "efficientnet-lite0"
    remark = recipe.TAUGHT if options.teacher else ""
    plan = recipe.from_nothing(options.effort, options.seed)
    if options.start is not None or lite:
        start = _start(options.start, lite=lite)
        print(start.remark, file=sys.stderr)
        if options.fold and start.kind in ("bundle", "pretraining"):
            print(
                f"cxr-train: if {options.start} has seen films of this manifest, fold {options.fold} is not "
                "held out: its figures will flatter",
                file=sys.stderr,
            )
        make = recipe.compact if lite else recipe.from_start
        plan = make(start, options.effort, options.seed)
        remark = " ".join(filter(None, (f"Started from: {start.remark}", remark)))
    if options.teacher and not lite:
        plan = replace(plan, stages=recipe.stretched(recipe.DISTILLED, options.effort))
    return plan, remark


def _start(path: Path | None, *, lite: bool) -> Start:
    from training import recipe  # noqa: PLC0415

    if path is None or (lite and path.suffix == ".pth"):
        from training.photographs import read_photographs  # noqa: PLC0415

        return read_photographs(path)
    from training.transfer import read_start  # noqa: PLC0415

    return read_start(path, recipe.LITE0 if lite else recipe.RESNET50)


def _teacher(path: Path, settings: dict[str, Any]) -> Teacher:
    """Read a teacher that has seen the films of this fit and no others."""
    from training.recipe import NETWORKS  # noqa: PLC0415
    from training.teacher import Teacher  # noqa: PLC0415

    fitted = read_settings(path)
    if missing := {*_SAME, "mean", "deviation", "stages"} - fitted.keys():
        raise CorpusError(f"{path} is no run of cxr-train fit: its settings have no {min(missing)}")
    if other := [name for name in _SAME if fitted[name] != settings[name]]:
        raise CorpusError(f"the teacher {path} was fitted to other films: its {other[0]} differs")
    if settings["fold"] and fitted.get("fitted_to") != settings["fitted_to"]:
        raise CorpusError(f"the teacher {path} is of a version that parted folds otherwise; fit it anew")
    start = fitted.get("start")
    if settings["fold"] and start and Path(start).suffix not in {".h5", ".pth"}:
        raise CorpusError(f"the teacher {path} started from {start}, which may have seen films of this fold")
    scale = tuple(fitted["mean"]), tuple(fitted["deviation"])
    network = NETWORKS[fitted.get("network", "resnet50")]
    return Teacher(network, read_weights(path), scale, fitted["stages"][-1]["size"])


def _settings(plan: Plan, packed: Packed, options: argparse.Namespace, remark: str) -> dict[str, Any]:
    """Say how the run is begun."""
    return {
        "packed": str(options.packed.resolve()),
        "films": hashlib.sha256(options.packed.read_bytes()).hexdigest(),
        "preprocessing": packed.preprocessing or None,
        "network": options.network,
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
