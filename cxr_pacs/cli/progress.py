"""How far a long work is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

__all__ = ["progress"]

_EVERY = 10.0  # seconds from one plain line to the next

Advance = Callable[[], None]


@contextmanager
def progress(console: Console, what: str, total: int) -> Iterator[Advance]:
    """Show how much of `total` is done; what is yielded is called for each that is.

    Parameters
    ----------
    console : Console
        On standard error, usually.
    what : str
        One word, e.g. ``reading``.
    total : int
    """
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
    else:
        yield _Lines(console, what, total)


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Pace(),
    )
    return Progress(*columns, console=console, expand=True, speed_estimate_period=30)


class _Pace(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Rate and time left, or the time it took."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        if task.finished:
            return Text(f"{speed:.1f}/s, took {in_words(task.elapsed or 0.0)}")
        return Text(f"{speed:.1f}/s, {in_words(task.remaining / speed)} left" if task.remaining else "")


class _Lines:
    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._done = 0
        self._began = self._told = time.monotonic()

    def __call__(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told < _EVERY:
            return
        self._told = now
        speed = self._done / (now - self._began)
        left = in_words((self._total - self._done) / speed)
        self._console.print(
            f"{self._what}: {self._done:,} of {self._total:,}, {speed:.1f}/s, {left} left", soft_wrap=True
        )


def in_words(seconds: float) -> str:
    """Write a duration shortly: ``4 s``, ``2:05 min``, ``3:20 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
