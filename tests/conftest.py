"""Its presence puts this folder on the import path, so that tests share `radiographs`, `peers` and so on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import chance  # noqa: F401  draws the seed before other processes share the tests
import pytest
from postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

# As the commands do. DBOS's own handler would write to whatever stands for standard error in the first test.
logging.getLogger("dbos").addHandler(logging.NullHandler())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server
