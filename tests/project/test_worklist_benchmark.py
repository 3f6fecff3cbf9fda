"""What the benchmark of the worklist takes for a fault."""

from __future__ import annotations

import pytest

from benchmarks.worklist import Measured, faults


def measured(rate: float, *, after: float = 100.0) -> Measured:
    return Measured(rate=rate, before=100.0, after=after)


@pytest.mark.parametrize(
    ("us", "others", "many"),
    [
        (measured(30.0), (10.0, 30.0), 0),
        (measured(30.0), (10.0, 31.0), 1),
        (measured(30.0, after=109.0), (10.0,), 0),
        (measured(30.0, after=111.0), (10.0,), 1),
        (measured(30.0, after=111.0), (31.0,), 2),
    ],
)
def test_slower_than_another_or_growing(us: Measured, others: tuple[float, ...], many: int):
    assert len(faults(us, [measured(rate) for rate in others])) == many
