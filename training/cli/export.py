"""``cxr-train export``: a bundle of fitted weights, calibrated, measured, with its claims and its card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_pacs.inference.ensemble import Ensemble
from training.cli.options import corpus_options
from training.cli.pack import preprocessing
from training.corpus import CorpusError, read_corpus
from training.ensemble import joined
from training.evaluation import pool, read_table
from training.run_folder import read_settings, read_weights
from training.splits import fold_parts, split_by_patient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["add"]

# What may differ: where the packed films lay, the seed, the versions; and what follows from films and fold.
_OWN = {"packed", "seed", "versions", "fitted_to"}
_NEEDED = {"stages", "mean", "deviation", "procedure", "seed", "fold", "fold_seed"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export", parents=[corpus_options()], help="make a bundle of a run; a bundle is never written over"
    )
    parser.add_argument(
        "--run",
        type=Path,
        nargs="+",
        required=True,
        dest="folders",
        metavar="DIR",
        help="of cxr-train fit; several, of other seeds, are asked together, each of the film and of its "
        "mirror image",
    )
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="FILE.npz",
        help="of cxr-train lungs, the same as for cxr-train pack; none where it packed --whole films",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder of the bundle")
    parser.add_argument(
        "--crossval",
        type=Path,
        nargs="+",
        metavar="FILE.npz",
        help="of cxr-train evaluate --fold K/N --scores: figures beside those of the test split, and claims",
    )
    parser.add_argument("--name", help="of the bundle (default: covid-pneumonia- and the network)")
    parser.add_argument("--version", required=True, help="three numbers, e.g. 1.0.0")
    parser.add_argument("--manufacturer", default="cxr-pacs project")
    parser.add_argument(
        "--licence", required=True, help="of the weights, which follows from that of the films"
    )
    parser.add_argument(
        "--limitation", action="append", required=True, help="what must be said of it; may be repeated"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.out.exists():
        raise CorpusError(f"{options.out} exists; a bundle is immutable, name a new folder")
    from training import export, lungs, recipe  # noqa: PLC0415 - Keras is slow to import

    runs = [_settings(folder) for folder in options.folders]
    _check_alike(options.folders, runs)
    settings = runs[0]
    _check_preprocessing(settings.get("preprocessing"), options.lungs)
    network = settings.get("network", "resnet50")
    members = [read_weights(folder) for folder in options.folders]
    each = recipe.NETWORKS[network]
    several = len(members) > 1
    found = None
    if options.lungs:
        found = export.Lungs(layout=lungs.LAYOUT, weights=read_weights(options.lungs))
    fitted = export.Fitted(
        architecture=Ensemble(members=len(members), of=each) if several else each,
        weights=joined(members, recipe.HEADS) if several else members[0],
        size=settings["stages"][-1]["size"],
        mean=tuple(settings["mean"]),
        deviation=tuple(settings["deviation"]),
        lungs=found,
    )
    fold, seed = settings["fold"], settings["fold_seed"]
    release = export.Release(
        name=options.name or f"covid-pneumonia-{network}",
        version=options.version,
        manufacturer=options.manufacturer,
        intended_use="Research use only",
        licence=options.licence,
        limitations=tuple(options.limitation),
        procedure=_procedure_of_several(runs) if several else settings["procedure"],
        seed=None if several else settings["seed"],
        held_out=f"fold {fold}, seed {seed}" if fold else "splits val and test",
    )
    films = read_corpus(options.manifest)
    parts = fold_parts(films, fold, seed) if fold else split_by_patient(films)
    if fold and settings.get("fitted_to") != len(parts["train"]):
        raise CorpusError(
            f"the run was not fitted to the {len(parts['train'])} films that fold {fold} leaves: the "
            "manifest has changed, or an older version parted folds otherwise; fit it anew"
        )
    crossval = pool([read_table(path) for path in options.crossval]) if options.crossval else None
    bundle = export.export(fitted, parts, release, options.out, crossval)
    print(f"{options.out}: SHA-256 {bundle.identity.digest}, {len(bundle.manifest.claims)} claims")


def _settings(folder: Path) -> dict[str, Any]:
    settings = read_settings(folder)
    if missing := _NEEDED - settings.keys():
        raise CorpusError(f"{folder} is no run of cxr-train fit: its settings have no {min(missing)}")
    return settings


def _procedure_of_several(runs: Sequence[Mapping[str, Any]]) -> str:
    seeds = ", ".join(str(run["seed"]) for run in runs)
    return (
        f"{len(runs)} networks, of the seeds {seeds}, each asked of the film and of its mirror image; their "
        f"logits are averaged. Each: {runs[0]['procedure']}"
    )


def _check_alike(folders: Sequence[Path], runs: Sequence[Mapping[str, Any]]) -> None:
    """See that runs which are to be asked together differ in their seed, and in nothing else that matters."""
    first, *others = runs
    for folder, other in zip(folders[1:], others, strict=True):
        names = first.keys() | other.keys()
        if different := {name for name in names - _OWN if first.get(name) != other.get(name)}:
            raise CorpusError(
                f"{folder} and {folders[0]} cannot be asked together: their {min(different)} differs"
            )
    of_seed: dict[int, Path] = {}
    for folder, run in zip(folders, runs, strict=True):
        if (same := of_seed.setdefault(run["seed"], folder)) is not folder:
            raise CorpusError(f"{folder} and {same} have one seed: asked together they say nothing new")


def _check_preprocessing(seen: str | None, lungs: Path | None) -> None:
    """See that the bundle will show films as the fit saw them; runs of older versions do not say how."""
    if seen is None or seen == preprocessing(lungs):
        return
    if seen == preprocessing(None):
        raise CorpusError("the run was fitted to whole films; leave out --lungs")
    raise CorpusError("the run was fitted to lung fields found by another network; give --lungs as to pack")
