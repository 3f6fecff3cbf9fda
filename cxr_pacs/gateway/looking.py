"""The ledger opened to look at, beside a gateway that may be running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from cxr_pacs.errors import ConfigurationError, NothingToShow
from cxr_pacs.gateway.ledger import Ledger, open_ledger
from cxr_pacs.settings import Settings

__all__ = ["looking"]


@contextmanager
def looking(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger of `settings` for the length of a look.

    Raises
    ------
    NothingToShow
        There is none yet: opening it would make it.
    ConfigurationError
        It cannot be opened or read.
    """
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).is_file()):
        raise NothingToShow(
            f"there is no ledger at {url.database}: name the gateway's settings with --config, or start it"
        )
    ledger = open_ledger(settings.database_url)
    try:
        yield ledger
    except sa.exc.SQLAlchemyError as error:
        raise ConfigurationError(
            f"database.url: the ledger cannot be read: {type(error).__name__}"
        ) from error
    finally:
        ledger.engine.dispose()
