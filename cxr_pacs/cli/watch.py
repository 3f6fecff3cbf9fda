"""Take in the radiographs of a folder as they come, and put the results into another folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from cxr_pacs.cli.serve import run_gateway
from cxr_pacs.errors import SettingsError
from cxr_pacs.gateway.service import Role
from cxr_pacs.sending import FolderDestination, RouteSettings
from cxr_pacs.settings import Settings, load_settings
from cxr_pacs.watching import WatchSettings, wrong_watches

__all__ = ["configure", "run"]

ERROR = 1
# Of the destination that `--out` adds.
_OUT = "out"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder to be watched; nothing in it is changed"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for what is made")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML); else the defaults")
    parser.add_argument(
        "--name", default="watch", help="routes and the ledger know its files as folder:NAME (default: watch)"
    )
    parser.add_argument(
        "--polling",
        action="store_true",
        help="for shares (SMB, NFS), which tell of no change: look every 5 s",
    )
    parser.add_argument("--move", action="store_true", help="move each file to DIR/done or DIR/failed")
    parser.add_argument(
        "--identity-in-names", action="store_true", help="Patient ID and study date in names of folders"
    )


def run(options: argparse.Namespace) -> int:
    """Watch until SIGTERM or SIGINT; 1 where there is no folder."""
    if not options.folder.is_dir():
        print(f"cxr-pacs: {options.folder}: no such folder", file=sys.stderr)
        return ERROR
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cxr-pacs: --out: cannot make {options.out}: {error.strerror}", file=sys.stderr)
        return ERROR
    settings = _settings(load_settings(options.config) if options.config else Settings(), options)
    return run_gateway(settings, Role.WATCHER, f"{options.folder} into {options.out}")


def _settings(settings: Settings, options: argparse.Namespace) -> Settings:
    """Add the folder, and its results' destination, to what the site set; other folders are left alone."""
    pace = {"notice": "polling", "rescan": 5.0} if options.polling else {}
    given = {"name": options.name, "folder": options.folder, "move": options.move}
    try:
        watch = WatchSettings.model_validate(given | pace)
    except ValidationError as error:
        raise SettingsError(f"--name: {error.errors()[0]['msg']} (got {options.name!r})") from error
    out = FolderDestination(
        name=_OUT,
        folder=options.out,
        pictures=True,
        tables=True,
        identity_in_names=options.identity_in_names,
    )
    if any(destination.name == out.name for destination in settings.destination):
        raise SettingsError(
            f"{options.config}: destination.name: {out.name!r} is that of --out: choose another"
        )
    # Without any route everything goes everywhere: then one would be a change.
    routes = (RouteSettings(destinations=(out.name,), source=(watch.source,)),) if settings.route else ()
    if wrong := list(wrong_watches([watch], settings.spool.path, [*settings.destination, out])):
        raise SettingsError("\n".join(wrong))
    return settings.model_copy(
        update={
            "watch": (watch,),
            "destination": (*settings.destination, out),
            "route": (*settings.route, *routes),
        }
    )
