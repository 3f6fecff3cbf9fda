"""Dynamic micro-batches: what several threads ask for at once goes through the network together.

Nobody waits for company: while one pass runs, requests gather, and the next pass takes them all. So the
batches are full exactly when the network is what all wait for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Batches"]

_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Request(Generic[_Result]):
    one: NDArray[Any]
    result: _Result | None = None
    error: BaseException | None = None
    done: bool = False


class Batches(Generic[_Result]):
    """A function of many, for callers that each have one.

    Parameters
    ----------
    run : callable
        Takes an array with one more axis, the first, and returns a result for each along it, in order. It is
        called by one thread at a time.
    largest : int
        Most that one call gets.
    """

    def __init__(self, run: Callable[[NDArray[Any]], Sequence[_Result]], largest: int) -> None:
        self._run = run
        self._largest = largest
        self._waiting: list[_Request[_Result]] = []
        self._running = False
        self._changed = threading.Condition()

    def __call__(self, one: NDArray[Any]) -> _Result:
        """Return the result for `one`; whatever `run` raises, all whose request was among them get."""
        request: _Request[_Result] = _Request(one)
        with self._changed:
            self._waiting.append(request)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: request.done or not self._running)
                if request.done:
                    break
                self._running = True
                batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            self._serve(batch)
        if request.error is not None:
            raise request.error
        return request.result  # type: ignore[return-value]  # it is done

    def _serve(self, batch: Sequence[_Request[_Result]]) -> None:
        try:
            results = self._run(np.stack([request.one for request in batch]))
            for request, result in zip(batch, results, strict=True):
                request.result = result
        except BaseException as error:
            for request in batch:
                request.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            with self._changed:
                for request in batch:
                    request.done = True
                self._running = False
                self._changed.notify_all()
