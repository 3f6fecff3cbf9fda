"""``cxr-train teach``: a teacher that knows photographs, fitted to films, for `fit --teacher`."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

from training.cli.fit import films_of, fit_options, settings_of
from training.corpus import CorpusError
from training.run_folder import TEACHER, keep_settings, write_weights

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "teach",
        parents=[fit_options()],
        help="fit a teacher that knows photographs, for `fit --teacher`; needs KERAS_BACKEND=torch",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE.pth",
        help="of EfficientNet-Lite0 for ImageNet (default: those of the extra `teacher`)",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if keras.backend.backend() != "torch":
        raise CorpusError("a teacher is fitted by PyTorch alone: set KERAS_BACKEND=torch")
    from training import recipe, teacher  # noqa: PLC0415 - PyTorch is slow to import
    from training.loop import Fit  # noqa: PLC0415
    from training.packed import read_packed  # noqa: PLC0415
    from training.progress import Progress  # noqa: PLC0415

    packed = read_packed(options.packed)
    films = films_of(packed, options)
    known = teacher.with_heads(teacher.photographs(options.weights), recipe.RESNET50)
    plan = recipe.teaching(known, options.effort, options.seed)
    keep_settings(options.folder, {"task": TEACHER, **settings_of(plan, packed, options, "")})
    with Progress(options.folder) as progress:
        fit = Fit(films, plan, options.folder, moves=teacher.TeacherStepper)
        weights = fit.weights(progress)
    print(write_weights(options.folder, weights))
