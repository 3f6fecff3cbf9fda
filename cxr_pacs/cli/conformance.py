"""Print the DICOM conformance statement of this installation, as Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cxr_pacs.errors import EvidenceError
from cxr_pacs.gateway.statement import conformance_statement
from cxr_pacs.inference import bundled, load_bundle
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

PRINTED, ERROR = 0, 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML); else the defaults")


def run(options: argparse.Namespace) -> int:
    """Print it; 0, or 1 when the objects that it describes cannot be made."""
    settings = load_settings(options.config) if options.config else Settings()
    try:
        statement = conformance_statement(settings, load_bundle(bundled(settings.model.bundle)))
    except EvidenceError as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    print(statement, end="")
    return PRINTED
