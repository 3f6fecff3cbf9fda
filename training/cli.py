"""``cxr-train``: fit a network, export it as a bundle, evaluate a bundle."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_pacs.errors import CxrPacsError
from training.corpus import CorpusError, Film, read_corpus, squash_square
from training.splits import split_by_patient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxr_pacs.inference.manifest import Metric

__all__ = ["main"]

_LIMITATIONS = (
    "Research use only; not a diagnostic device and not assessed by any regulator.",
    (
        "Trained from scratch on some 870 radiographs of four collections; class goes with collection, age "
        "and technique, so the figures here overstate what to expect elsewhere."
    ),
    (
        "Adults: bacterial pneumonia is nearly unlearned, as it was trained on 19 films of 11 adults; never "
        "read COVID-19 against bacterial pneumonia in an adult."
    ),
    (
        "Children: those of 1 to 5 years come from one hospital and none has COVID-19; all other ages below "
        "18 are absent."
    ),
    (
        "Temperatures, thresholds and the stage to export were chosen on the validation films, so figures "
        "that pool val and test flatter a little; test figures of other stages were seen before the choice."
    ),
    "It knows three classes and nothing else: any other finding is given to one of them.",
    "A radiograph cannot prove an aetiology.",
)
_LICENCE = (
    "Non-commercial research only: some training films are CC-BY-NC-SA; the others ask for attribution "
    "(training.sources)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, or 1 with one line on standard error."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        parts = split_by_patient(read_corpus(options.data))
        options.run(options, parts)
    except (CorpusError, CxrPacsError) as error:
        print(f"cxr-train: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cxr-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = argparse.ArgumentParser(add_help=False)
    corpus = os.environ.get("CXR_DATA")
    data.add_argument(
        "--data",
        type=Path,
        required=corpus is None,
        default=Path(corpus, "cxr") if corpus else None,
        help="folder with manifest.csv (default: the folder cxr in CXR_DATA)",
    )
    release = argparse.ArgumentParser(add_help=False, parents=[data])
    release.add_argument("--out", type=Path, required=True, help="folder of the new bundle")
    release.add_argument("--name", default="covid-pneumonia-resnet50")
    release.add_argument("--version", default="0.1.0")
    release.add_argument("--manufacturer", default="cxr-pacs project")
    release.add_argument("--procedure", help="how the weights were made, if not by this very recipe")
    release.add_argument("--seed", type=int, default=20261123)

    fit = commands.add_parser("fit", parents=[release], help="fit the network, then export it")
    fit.add_argument("--checkpoints", type=Path, required=True, help="folder for the weights of each stage")
    fit.add_argument("--initial", type=Path, help="weights (.npz) to start from")
    fit.add_argument("--effort", type=float, default=1.0, help="multiplies every stage's passes")
    fit.set_defaults(run=_fit)

    export = commands.add_parser("export", parents=[release], help="make a bundle of a checkpoint")
    export.add_argument("--weights", type=Path, required=True, help="checkpoint (.npz)")
    export.add_argument("--size", type=int, default=160, help="side of the input square, pixels")
    export.set_defaults(run=_export)

    evaluate = commands.add_parser("evaluate", parents=[data], help="measure a bundle on val and test")
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.set_defaults(run=_evaluate)
    return parser


def _fit(options: argparse.Namespace, parts: dict[str, tuple[Film, ...]]) -> None:
    from training import loop  # noqa: PLC0415 - TensorFlow is slow to import

    stages = tuple(replace(stage, passes=round(stage.passes * options.effort)) for stage in loop.RECIPE)
    plan = loop.Plan(architecture=loop.RESNET50, stages=stages, seed=options.seed, out=options.checkpoints)
    weights = loop.fit(parts["train"], plan, _read_weights(options.initial) if options.initial else None)
    _write(options, parts, weights, stages[-1].size)


def _export(options: argparse.Namespace, parts: dict[str, tuple[Film, ...]]) -> None:
    _write(options, parts, _read_weights(options.weights), options.size)


def _write(
    options: argparse.Namespace,
    parts: dict[str, tuple[Film, ...]],
    weights: dict[str, np.ndarray],
    size: int,
) -> None:
    from training import export, loop  # noqa: PLC0415 - TensorFlow is slow to import

    release = export.Release(
        name=options.name,
        version=options.version,
        manufacturer=options.manufacturer,
        intended_use="Research use only",
        licence=_LICENCE,
        limitations=_LIMITATIONS,
        procedure=options.procedure or loop.describe(loop.RECIPE),
        seed=options.seed,
    )
    fitted = export.Fitted(architecture=loop.RESNET50, weights=weights, size=size)
    bundle = export.export(fitted, parts, release, options.out)
    _print_metrics(bundle.manifest.metrics)


def _evaluate(options: argparse.Namespace, parts: dict[str, tuple[Film, ...]]) -> None:
    from cxr_pacs.inference import load_bundle, load_engine  # noqa: PLC0415 - as above
    from training.evaluate import HeadScores, report  # noqa: PLC0415

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
    _print_metrics(report(heads, parts))


def _print_metrics(metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        print(
            f"{metric.head:11} {metric.films:46} {metric.name:50} {metric.value:.3f} "
            f"[{metric.low:.3f}, {metric.high:.3f}] {metric.images} images, {metric.patients} patients"
        )


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} holds no weights: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
