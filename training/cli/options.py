"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from training.corpus import CorpusError
from training.judged import JUDGED

__all__ = ["check_outputs", "corpus_options", "count", "effort", "judged_options", "seed"]


def corpus_options(*, required: bool = True) -> argparse.ArgumentParser:
    """Parent parser with ``--manifest``: a manifest, or the folder that holds one."""
    parser = argparse.ArgumentParser(add_help=False)
    root = os.environ.get("CXR_DATA")
    parser.add_argument(
        "--manifest",
        type=Path,
        required=required and root is None,
        default=Path(root, "cxr") if root else None,
        help="manifest.csv, or the folder that holds it (default: the folder cxr in CXR_DATA)",
    )
    return parser


def judged_options() -> argparse.ArgumentParser:
    """Parent parser with ``--split``, or ``--fold`` and ``--fold-seed``: which films are judged."""
    parser = argparse.ArgumentParser(add_help=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--split",
        choices=JUDGED,
        default="test",
        help="films to judge, by the manifest's column split; `all` ignores the column (default: test)",
    )
    which.add_argument(
        "--fold",
        metavar="K/N",
        help="judge the films of this fold of a cross-validation by patient over the whole manifest",
    )
    parser.add_argument("--fold-seed", type=seed, default=0, help="of the folds (default: 0)")
    return parser


def check_outputs(*files: Path | None) -> None:
    """
    See that the files can be written, before any work.

    Raises
    ------
    CorpusError
        One lies in no folder, or is one.
    """
    for path in files:
        if path is not None and not path.parent.is_dir():
            raise CorpusError(f"{path} cannot be written: there is no folder {path.parent}")
        if path is not None and path.is_dir():
            raise CorpusError(f"{path} cannot be written: it is a folder")


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give 1 or more")
    return int(text)


def seed(text: str) -> int:
    """Read what every source of random numbers takes as a seed."""
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 to 4294967295")
    return int(text)


def effort(text: str) -> float:
    """Read a factor of a fit's length."""
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no factor; give a number above 0")
    return factor
