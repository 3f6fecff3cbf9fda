"""``cxr-train``: check a corpus, fit, search, judge, explain, package."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

from cxr_pacs.errors import CxrPacsError
from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = (
    "corpus",
    "lungs",
    "pack",
    "pretrain",
    "fit",
    "search",
    "evaluate",
    "explain",
    "export",
    "import_",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command; its exit status, or 1 with one line on standard error where an input is at fault.

    After Ctrl-C it is 130.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    parser = argparse.ArgumentParser(prog="cxr-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else arguments
    # A command that is named is imported alone: a fit needs little of what others need.
    named = [name for name in _COMMANDS if words and name.rstrip("_") == words[0]]
    for name in named or _COMMANDS:
        importlib.import_module(f"training.cli.{name}").add(commands)
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        return int(options.run(options) or 0)
    except (CorpusError, CxrPacsError) as error:
        print(f"cxr-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cxr-train: stopped; where there is a run folder the same command goes on", file=sys.stderr)
        return 130
