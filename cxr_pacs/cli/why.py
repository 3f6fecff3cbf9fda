"""Tell the whole history of a study, and why it stands as it does."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.cli.times import moment
from cxr_pacs.errors import NothingToShow
from cxr_pacs.gateway.accession import studies_of
from cxr_pacs.gateway.history import History, study_history
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.media import printable
from cxr_pacs.gateway.watch import file_histories
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

DONE, ERROR, NOT_DONE = 0, 1, 3
# Folders of results have such names, too.
_UID = re.compile(r"[0-9.]+")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        metavar="UID-OR-ACCESSION",
        help="a Study Instance UID, the SOP Instance UID of an image, or an accession number; or the path of "
        "a file of a watched folder, or of a folder: then which files of it were not taken in",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML) of the gateway")


def run(options: argparse.Namespace) -> int:
    """Print it; 0 when all is done, 3 when it is not, 1 when nothing of it was received."""
    settings = load_settings(options.config) if options.config else Settings()
    path = Path(options.what)
    try:
        with looking(settings) as ledger, ledger.begin() as connection:
            if not _UID.fullmatch(options.what) and os.path.lexists(path):
                return _tell_files(connection, path)
            return max(map(_tell_study, _histories(connection, options.what, settings)))
    except NothingToShow as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return ERROR


def _histories(connection: sa.Connection, what: str, settings: Settings) -> list[History]:
    """Of the study that the UID `what` names; else of each with this accession number."""
    try:
        return [study_history(connection, what)]
    except NothingToShow:
        found = studies_of(connection, settings.site.uid_namespace, what)
        if not found:
            raise
        return [study_history(connection, uid) for uid in found]


def _tell_study(history: History) -> int:
    print(f"Study {history.study_instance_uid}")
    for event in history.events:
        print(f"{'' if event.at is None else moment(event.at):<24}  {event.sentence}")
    print(history.conclusion)
    return DONE if history.done else NOT_DONE


def _tell_files(connection: sa.Connection, path: Path) -> int:
    histories = list(file_histories(connection, path))
    for one in histories:
        print(f"{printable(one.path)}: {one.sentence}")
    if not histories:
        print(f"{printable(path)}: no file in it is known not to have been taken in.")
    uids = [one.sop_instance_uid for one in histories if one.sop_instance_uid is not None]
    codes = [_tell_study(study_history(connection, uid)) for uid in uids]
    return NOT_DONE if any(one.is_open for one in histories) else max(codes, default=DONE)
