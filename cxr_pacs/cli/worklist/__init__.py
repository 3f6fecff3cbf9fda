"""The modality worklist: what is ordered, where it comes from, and who asks for it."""

from __future__ import annotations

import argparse

from cxr_pacs.cli.worklist import add, generate, importing, listing, query, remove, serve

__all__ = ["configure", "run"]

_COMMANDS = {
    "add": add,
    "import": importing,
    "list": listing,
    "remove": remove,
    "generate": generate,
    "query": query,
    "serve": serve,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands: one module each, with ``configure`` and ``run``."""
    subparsers = parser.add_subparsers(dest="worklist_command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        module.configure(subparsers.add_parser(name, help=summary, description=summary))


def run(options: argparse.Namespace) -> int:
    """Run one of them and return its exit status."""
    status: int = _COMMANDS[options.worklist_command].run(options)
    return status
