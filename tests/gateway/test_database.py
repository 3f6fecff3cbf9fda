"""The ledger's database under many threads."""

from __future__ import annotations

import threading

import sqlalchemy as sa
from peers import eventually

from cxr_pacs.database import connect, one_at_a_time

_WAITING = 30


def test_who_writes_may_ask_on_a_second_connection_however_many_wait(tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    begun = threading.Semaphore(0)

    def wait():
        with engine.begin() as connection:
            begun.release()
            one_at_a_time(connection, "test")

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(_WAITING)]
    with engine.begin() as connection:
        one_at_a_time(connection, "test")
        for thread in threads:
            thread.start()
        for _ in range(_WAITING):
            assert begun.acquire(timeout=10)
        with engine.begin() as second:
            assert second.scalar(sa.text("SELECT 1")) == 1
    eventually(lambda: not any(thread.is_alive() for thread in threads))
    engine.dispose()
