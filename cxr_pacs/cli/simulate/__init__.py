"""Play the part of other equipment, to test a site or to put it under load."""

from __future__ import annotations

import argparse

from cxr_pacs.cli.simulate import modality

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    subparsers = parser.add_subparsers(dest="equipment", required=True, metavar="EQUIPMENT")
    summary = (modality.__doc__ or "").splitlines()[0]
    modality.configure(subparsers.add_parser("modality", help=summary, description=summary))


def run(options: argparse.Namespace) -> int:
    """Run the one there is and return its exit status."""
    return modality.run(options)
