"""The two databases under the ledger: how each is opened, and what it says in its own words."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["connect", "insert_into", "one_at_a_time"]

# Of libpq, in seconds; the last one in milliseconds. A server that is gone is an error within half a minute.
_TIMEOUTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "connect_timeout": "10",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "25000",
    }
)

# Threads are limited elsewhere. Who writes may ask something on a second connection: were these limited, all
# could be with those who wait for that very writer.
_UNLIMITED: Final = -1
_BUSY_SECONDS: Final = 30


def connect(url: str) -> sa.Engine:
    """Make the engine of the database at `url`.

    SQLite is set to WAL and ``synchronous=FULL``: what was committed survives a power failure. Its file is
    made readable by its owner only. PostgreSQL gets time-outs where the URL sets none.

    Raises
    ------
    OSError, ImportError, SQLAlchemyError
        When there can be none.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            os.close(os.open(Path(parsed.database), os.O_RDWR | os.O_CREAT, 0o600))
        # One in memory has another pool: else each connection would see a database of its own.
        pool = {"max_overflow": _UNLIMITED} if parsed.database else {}
        engine = sa.create_engine(parsed, hide_parameters=True, **pool)
        sa.event.listen(engine, "connect", _configure_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg", query={**_TIMEOUTS, **parsed.query})
    return sa.create_engine(parsed, hide_parameters=True, pool_pre_ping=True, max_overflow=_UNLIMITED)


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """Give the INSERT of the connection's database, which has ON CONFLICT."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def one_at_a_time(connection: sa.Connection, what: str) -> None:
    """Wait for the end of every other transaction that says the same; on SQLite of every one that writes."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(what, 0))))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    # Of several that turn a new file to WAL at once, SQLite refuses some without heeding busy_timeout.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
