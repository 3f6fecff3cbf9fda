"""The command ``cxr-pacs``: one module for each subcommand, with ``configure`` and ``run``."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from cxr_pacs import __version__
from cxr_pacs.cli import (
    analyse,
    conformance,
    dismiss,
    fetch,
    release,
    rerun,
    retry,
    serve,
    show,
    simulate,
    status,
    watch,
    why,
    worklist,
)
from cxr_pacs.cli.sparing import Sparing
from cxr_pacs.errors import ConfigurationError

__all__ = ["main"]

_COMMANDS = {
    "serve": serve,
    "status": status,
    "why": why,
    "retry": retry,
    "rerun": rerun,
    "fetch": fetch,
    "dismiss": dismiss,
    "release": release,
    "analyse": analyse,
    "watch": watch,
    "show": show,
    "conformance": conformance,
    "worklist": worklist,
    "simulate": simulate,
}

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
    for name, module in _COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        module.configure(subparsers.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    _configure_logging()
    try:
        status: int = _COMMANDS[options.command].run(options)
    except ConfigurationError as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return CONFIGURATION_STATUS
    return status


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
