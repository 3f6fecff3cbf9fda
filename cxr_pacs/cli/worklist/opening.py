"""The site's worklist, opened for the length of a command beside a gateway that may be running."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import Settings
from cxr_pacs.worklist import Worklist, open_worklist

__all__ = ["ORIGIN", "add_config", "opened"]

# Of what a person puts in by a command.
ORIGIN: Final = "command"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config``."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings (TOML)")


@contextmanager
def opened(settings: Settings) -> Iterator[Worklist]:
    """Open the worklist, and make it where there is none; ConfigurationError when it cannot be used."""
    if not settings.database.url:
        Spool(settings.spool.path)  # the file lies in it
    worklist = open_worklist(settings.database_url)
    try:
        yield worklist
    except sa.exc.SQLAlchemyError as error:
        raise ConfigurationError(
            f"database.url: the worklist cannot be used: {type(error).__name__}"
        ) from error
    finally:
        worklist.engine.dispose()
