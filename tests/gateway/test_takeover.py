"""Roles, names and the loss of the database, in this process; processes are in tests/acceptance."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from peers import eventually, send
from test_journey import DEADLINE, radiographs, table

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.service import Gateway, Role
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import executor
from cxr_pacs.gateway.takeover import Presence


@contextmanager
def receiving(settings):
    gateway = Gateway(settings, None, Role.RECEIVER)
    gateway.start()
    try:
        yield settings.dicom.port
    finally:
        gateway.stop()


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


@pytest.fixture
def ledger(postgres_server):
    opened = open_ledger(postgres_server.new_database())
    yield opened
    opened.engine.dispose()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def test_what_a_receiver_took_is_done_by_the_next_worker(archive, make_settings, serving):
    settings = make_settings(archive)
    with receiving(settings) as port:
        assert send(radiographs(1), port) == [0x0000]
    assert table(settings, "instance")[0]["decision"] is None
    with serving(settings):
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


@pytest.mark.parametrize("on_both_databases", ["postgresql"], indirect=True)
def test_without_its_database_a_receiver_answers_out_of_resources(archive, make_settings, postgres_server):
    settings = make_settings(archive)
    first, second = radiographs(2)
    with receiving(settings) as port:
        assert send([first], port) == [0x0000]
        postgres_server.stop()
        try:
            assert send([second], port) == [0xA700]
        finally:
            postgres_server.start()
        assert send([second], port) == [0x0000]
    assert len(table(settings, "instance")) == 2


def test_of_two_hosts_of_one_name_the_second_does_not_start(ledger, spool):
    queue = Queue(ledger.engine)
    first, second = (Presence(ledger.engine, queue, "host-0", spool, pytest.fail) for _ in range(2))
    first.start()
    with pytest.raises(ConfigurationError, match="host-0"):
        second.start()
    first.stop()
    second.start()
    second.stop()
    queue.close()


def test_a_name_whose_process_died_before_the_clock_was_set_back_is_free(ledger, spool):
    queue = Queue(ledger.engine)
    with ledger.begin() as connection:
        connection.execute(sa.insert(executor).values(id="host-0", life="gone", seen_at=1e11))
    presence = Presence(ledger.engine, queue, "host-0", spool, pytest.fail)
    presence.start()
    presence.stop()
    queue.close()


def test_a_process_whose_name_is_taken_is_told(ledger, spool):
    queue = Queue(ledger.engine)
    lost = threading.Event()
    presence = Presence(ledger.engine, queue, "host-0", spool, lost.set)
    presence.start()
    with ledger.begin() as connection:
        connection.execute(sa.update(executor).values(life="another"))
    assert lost.wait(DEADLINE)
    presence.stop()
    with ledger.begin() as connection:
        assert connection.execute(sa.select(executor.c.life)).scalar_one() == "another"
    queue.close()


@pytest.mark.parametrize("seen_at", [0.0, 1e11], ids=["long ago", "before the clock was set back"])
def test_what_a_dead_process_was_doing_is_enqueued_again(ledger, spool, monkeypatch, seen_at):
    monkeypatch.setattr("cxr_pacs.gateway.takeover.DEAD_SECONDS", 3.0)
    queue = Queue(ledger.engine)
    queue.prepare()
    presence = Presence(ledger.engine, queue, "host-0", spool, pytest.fail)
    for name in ("host-1", "host-2"):
        with Spool(spool.root).place([name]):
            (spool.root / "incoming" / name / "half").write_bytes(b"x")
    with ledger.begin() as connection:
        queue.enqueue(connection, "deliver", 7, 1, partition="pacs")
        running = sa.text("UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'host-1'")
        connection.execute(running)
        connection.execute(sa.insert(executor).values(id="host-1", life="gone", seen_at=seen_at))
    presence.start()
    assert queue.running("host-1") == {"deliver:7:1": "deliver"}
    eventually(lambda: not queue.running("host-1"), timeout=DEADLINE)
    presence.stop()
    with ledger.begin() as connection:
        row = sa.text("SELECT status, queue_name, queue_partition_key FROM dbos.workflow_status")
        assert tuple(connection.execute(row).one()) == ("ENQUEUED", "deliver", "pacs")
        assert connection.execute(sa.select(executor.c.id)).scalars().all() == ["host-0"]
    assert [half.parent.name for half in spool.root.glob("incoming/*/*")] == ["host-2"]
    queue.close()
