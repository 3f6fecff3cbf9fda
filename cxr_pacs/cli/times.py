"""Moments and spans as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["moment", "since"]


def moment(at: float) -> str:
    """Give local date and time of `at`, seconds since the epoch, with its offset from UTC."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S%z")


def since(then: float, now: float) -> str:
    """Give the span from `then` to `now`, seconds since the epoch, in its largest unit; never negative."""
    seconds = max(0, round(now - then))
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
