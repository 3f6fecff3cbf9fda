"""A destination that failed is asked by C-ECHO, and who waits for it is told once each time it is back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from peers import Archive, free_port

from cxr_pacs.gateway import owed
from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.probing import Probes
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool

NOW = 1e6


@pytest.fixture
def peer(tmp_path):
    """Not running; each `with` is one life of it."""
    return Archive(tmp_path / "archive", port=free_port())


@pytest.fixture
def site(make_settings, peer):
    settings = make_settings(peer)
    spool = Spool(settings.spool.path)
    ledger = open_ledger(settings.database_url)
    queue = Queue(ledger.engine)
    yield Site(settings=settings, ledger=ledger, spool=spool, queue=queue, clock=lambda: NOW)
    queue.close()
    ledger.engine.dispose()


def sleep_until(site, next_at):
    """Let one object wait for its destination, after a failure, until `next_at`."""
    with site.ledger.begin() as connection:
        arrival = Arrival(digest="d", source="M", received_at=1.0, study_instance_uid="1.2", file="none")
        site.ledger.add_arrival(connection, arrival)
        made = MadeObject(study_id=1, kind="SR", sop_instance_uid="1.2.3", file="none")
        result = site.ledger.add_result(connection, made)
        row = owed.owe(connection, owed.DELIVER, result, "pacs0", 1.0)
        owed.postpone(connection, owed.DELIVER, row, attempts=1, next_at=next_at, reason="it was down")


def test_each_return_is_told_once(site, peer):
    sleep_until(site, NOW + 3600)
    told = []
    probes = Probes(site, told.append)
    for life in (1, 2):
        probes.once()
        assert len(told) == life - 1
        with peer:
            for _ in range(3):
                probes.once()
        assert told == ["pacs0"] * life


def test_what_is_due_or_done_asks_nobody(site, peer):
    told = []
    probes = Probes(site, told.append)
    with peer:
        probes.once()
        sleep_until(site, NOW - 1)
        probes.once()
        with site.ledger.begin() as connection:
            assert connection.execute(sa.select(owed.owed.c.state)).scalars().all() == ["waiting"]
    assert told == []
