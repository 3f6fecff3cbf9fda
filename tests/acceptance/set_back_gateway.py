"""``swift_gateway`` on a host whose clock is set back an hour as soon as the file that `CLOCK` names exists.

It is the clock of Python and of SQLite; what counts seconds (``time.monotonic``) goes on, as on a real host.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

CLOCK = "CXR_CLOCK_SET_BACK"
COMMAND = (sys.executable, __file__)


def _set_back(sign: Path) -> None:
    true = time.time

    def now() -> float:
        return true() - 3600.0 * sign.exists()

    time.time = now

    @sa.event.listens_for(sa.Engine, "connect")
    def shown_by_sqlite(connection: Any, _record: Any) -> None:
        # As DBOS asks it, on older and on newer Pythons.
        connection.create_function("strftime", 2, lambda _format, _when: str(int(now())))
        connection.create_function("unixepoch", 1, lambda _precision: now())


if __name__ == "__main__":
    _set_back(Path(os.environ[CLOCK]))
    runpy.run_path(str(Path(__file__).with_name("swift_gateway.py")), run_name="__main__")
