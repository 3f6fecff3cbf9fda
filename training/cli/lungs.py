"""``cxr-train lungs``: the lung segmentation network."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.cli.options import check_outputs, count, seed
from training.corpus import CorpusError, manifest_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.lungs import LungPair

__all__ = ["add"]

_SPLITS = ("val", "test")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    root = os.environ.get("CXR_DATA")
    parser = commands.add_parser("lungs", help="fit the network that finds the lungs, and measure it")
    parser.add_argument(
        "--manifest",
        type=Path,
        required=root is None,
        default=Path(root, "lungs") if root else None,
        help="manifest.csv of images and masks, or its folder (default: the folder lungs in CXR_DATA)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="weights; written anew")
    parser.add_argument("--epochs", type=count, default=60, help="passes over the films (default: 60)")
    parser.add_argument("--seed", type=seed, default=20261123)
    parser.add_argument("--judge", type=Path, metavar="FILE.npz", help="fit nothing; measure these weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from training import lungs  # noqa: PLC0415 - Keras is slow to import

    check_outputs(options.out, options.json)
    pairs = lungs.read_lungs(manifest_path(options.manifest))
    if options.judge:
        network = lungs.lung_network(options.judge)
    else:
        training = [pair for pair in pairs if pair.split == "train"]
        if not training:
            raise CorpusError(f"{options.manifest} has no pair of split train")
        network = lungs.fit_lungs(training, options.epochs, options.seed, _tell)
        weights: dict[str, Any] = {**lungs.lung_weights(network)}
        np.savez(options.out, **weights)
    figures = {}
    for split in _SPLITS:
        of_split = [pair for pair in pairs if pair.split == split]
        figures[split] = _by_source(of_split, lungs.dice(network, of_split))
    for split, sources in figures.items():
        for source, figure in sources.items():
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in figure.items() if name != "n")
            print(f"{split:5} {source:24} n {figure['n']:3} Dice: {numbers}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _tell(epoch: int, loss: float) -> None:
    print(f"epoch {epoch}: loss {loss:.4f}", flush=True)


def _by_source(pairs: Sequence[LungPair], dice: np.ndarray) -> Mapping[str, Mapping[str, float]]:
    """Mean, median and least Dice of each source; sources draw masks differently."""
    sources = np.array([pair.source for pair in pairs])
    return {
        str(source): {
            "n": int((sources == source).sum()),
            "mean": float(dice[sources == source].mean()),
            "median": float(np.median(dice[sources == source])),
            "least": float(dice[sources == source].min()),
        }
        for source in np.unique(sources)
    }
