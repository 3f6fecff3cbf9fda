"""Tell the whole history of a study, and why it stands as it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cxr_pacs.cli.times import moment
from cxr_pacs.errors import NothingToShow
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.looking import looking
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

DONE, ERROR, NOT_DONE = 0, 1, 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "uid", metavar="UID", help="a Study Instance UID, or the SOP Instance UID of an image"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """Print it; 0 when all is done, 3 when it is not, 1 when nothing of it was received."""
    settings = load_settings(options.config) if options.config else Settings()
    try:
        with looking(settings) as ledger, ledger.begin() as connection:
            history = study_history(connection, options.uid)
    except NothingToShow as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR
    print(f"Study {history.study_instance_uid}")
    for event in history.events:
        print(f"{'' if event.at is None else moment(event.at):<24}  {event.sentence}")
    print(history.conclusion)
    return DONE if history.done else NOT_DONE
