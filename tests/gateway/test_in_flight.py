"""Work in flight: a worker that ends takes nothing along but what ends it each time."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Future

import pytest

from cxr_pacs.gateway.bulk.workers import in_flight

DEADLY, AT_ONCE = 4, 3


class Pool:
    """Works when no more may come in flight; what is there with `DEADLY` breaks, `deaths` times."""

    def __init__(self, deaths):
        self.deaths = deaths
        self.waiting = {}
        self.tried = []

    def submit(self, piece):
        self.waiting[piece] = future = Future()
        again = piece in self.tried
        self.tried.append(piece)
        if len(self.waiting) == AT_ONCE or again or piece == 9:
            breaks = DEADLY in self.waiting and self.deaths > 0
            self.deaths -= breaks
            for one, waited in self.waiting.items():
                if breaks:
                    waited.set_exception(BrokenExecutor())
                else:
                    waited.set_result(f"{one} done")
            self.waiting = {}
        return future


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_what_was_in_flight_at_a_death_is_done_again_alone(deaths):
    pool = Pool(deaths)
    work = [(number, number) for number in range(10)]
    results = dict(in_flight(pool.submit, AT_ONCE, work, lambda: False, lambda reason: reason))
    ended = "Failed: what read it ended, and ended again when it read nothing else (BrokenExecutor)."
    assert results == {
        number: ended if number == DEADLY and deaths == 2 else f"{number} done" for number in range(10)
    }
    again = [3, 4, 5] if deaths else []
    assert sorted(pool.tried[6 : 6 + len(again)]) == again
    assert [*pool.tried[:6], *pool.tried[6 + len(again) :]] == list(range(10))


def test_once_stopped_what_died_is_left():
    pool = Pool(1)
    work = [(number, number) for number in range(10)]
    results = dict(in_flight(pool.submit, AT_ONCE, work, lambda: len(pool.tried) >= 6, lambda reason: reason))
    assert sorted(results) == [0, 1, 2]
