"""One line in place of the thousands that a lost database would bring."""

from __future__ import annotations

import logging
import time
from typing import Final

__all__ = ["Sparing"]

SECONDS: Final = 60.0


class Sparing(logging.Filter):
    """Lets the same place of the code warn once a minute, and the same error through as often.

    For libraries that ask the database many times a second. An error of other words always passes, and what
    is let through tells how much was not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one record; warnings are cut to their first line."""
        said = record.getMessage()
        grave = record.levelno >= logging.ERROR
        place = (record.pathname, record.lineno, said if grave else "")
        now = time.monotonic()
        last, kept_back = self._last.get(place, (-SECONDS, 0))
        if now - last < SECONDS:
            self._last[place] = (last, kept_back + 1)
            return False
        self._last[place] = (now, 0)
        more = f" ({kept_back} more like it)" if kept_back else ""
        record.msg, record.args = (said if grave else said.partition("\n")[0]) + more, None
        return True
