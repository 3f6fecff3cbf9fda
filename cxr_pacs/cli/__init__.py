"""The command ``cxr-pacs``: one module for each subcommand, with ``configure`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cxr_pacs import __version__
from cxr_pacs.cli.sparing import Sparing
from cxr_pacs.errors import ConfigurationError

__all__ = ["main"]

_COMMANDS = (
    "serve",
    "status",
    "why",
    "retry",
    "rerun",
    "fetch",
    "dismiss",
    "release",
    "analyse",
    "watch",
    "show",
    "conformance",
    "worklist",
    "simulate",
)

# Exit status of a command that the site's settings or installation prevent.
CONFIGURATION_STATUS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="cxr-pacs",
        description="Chest-radiograph AI inside the PACS. Decision support for research, never a diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"cxr-pacs {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = sys.argv[1:] if arguments is None else list(arguments)
    # All modules together take seconds to load: where a command is given, only its own.
    for name in (given[0],) if given and given[0] in _COMMANDS else _COMMANDS:
        module = _module(name)
        summary = (module.__doc__ or "").splitlines()[0]
        module.configure(subparsers.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(given)
    _configure_logging()
    try:
        status: int = _module(options.command).run(options)
    except ConfigurationError as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return CONFIGURATION_STATUS
    return status


def _module(command: str) -> Any:
    return importlib.import_module(f"cxr_pacs.cli.{command}")


def _configure_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("cxr_pacs").setLevel(logging.INFO)
    # With a handler of ours DBOS brings none, and its lines look like all others.
    logging.getLogger("dbos").addHandler(logging.NullHandler())
    for library in ("dbos", "sqlalchemy.pool.impl.QueuePool"):
        logging.getLogger(library).addFilter(Sparing())
    # These libraries quote data elements, and with them patient identity, in what they log and warn.
    for library in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{library}(\..*)?")
    # This one quotes the names of folders, but only in what it warns; its log tells when events were lost.
    warnings.filterwarnings("ignore", module=r"watchdog(\..*)?")
