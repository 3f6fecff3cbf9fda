"""A destination that is down with a large backlog: another is served, nothing grows, in the end it drains."""

from __future__ import annotations

import threading
import time

import pytest
from peers import Archive, eventually, free_port
from radiographs import make_radiograph, synthetic_chest
from test_journey import table

from cxr_pacs.gateway import owed
from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import Settings

OBJECTS = 200


def backlog(settings):
    """Owe many small objects to both destinations at once."""
    spool, ledger = Spool(settings.spool.path), open_ledger(settings.database_url)
    queue = Queue(ledger.engine)
    with ledger.begin() as connection:
        for number in range(OBJECTS):
            # One of each study: those of one study go one after the other.
            arrival = Arrival(
                digest=str(number),
                source="MODALITY",
                received_at=1.0,
                study_instance_uid=f"1.3.{number}",
                sop_instance_uid=f"1.4.{number}",
                file="originals/none",
                decision="skip",
            )
            ledger.add_arrival(connection, arrival)
            small = make_radiograph(picture=synthetic_chest(16, 16, 0), InstanceNumber=number)
            small.SOPInstanceUID = small.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number + 1000}"
            path = settings.spool.path / "small.dcm"
            small.save_as(path)
            made = MadeObject(
                study_id=number + 1,
                kind="SC",
                sop_instance_uid=small.SOPInstanceUID,
                file=spool.keep_result(small.SOPInstanceUID, path.read_bytes()),
            )
            result_id = ledger.add_result(connection, made)
            for destination in settings.destination:
                row = owed.owe(connection, owed.DELIVER, result_id, destination.name, time.time())
                queue.enqueue(connection, owed.DELIVER, row, 1, partition=destination.name)
    queue.close()
    ledger.engine.dispose()


def states(settings, name):
    return [row["state"] for row in table(settings, "delivery") if row["destination"] == name]


@pytest.mark.timeout(900)
def test_one_that_is_down_harms_no_other_and_drains_when_it_is_back(make_settings, serving, tmp_path):
    late = Archive(tmp_path / "late", ae_title="LATE", port=free_port())
    (tmp_path / "share").mkdir()
    # It would be an hour until the next try of what failed before the archive came back.
    settings = make_settings(late, first_retry=3600.0, longest_retry=3600.0, probe_every=0.5).model_dump()
    settings["destination"] += ({"name": "share", "folder": tmp_path / "share"},)
    settings = Settings.model_validate(settings)
    most = 0
    with serving(settings):
        backlog(settings)

        def served():
            nonlocal most
            most = max(most, threading.active_count())
            return states(settings, "share").count("delivered") == OBJECTS

        eventually(served, timeout=400)
        assert set(states(settings, "pacs0")) == {"waiting"}
        eventually(lambda: all(r["attempts"] for r in table(settings, "delivery")), timeout=400)
        few = threading.active_count()
        with late:
            late.wait_for(lambda held: len(held) == OBJECTS, timeout=400)
            eventually(lambda: set(states(settings, "pacs0")) == {"delivered"}, timeout=60)
    assert max(few, most) < 60, f"{most} threads for {OBJECTS} deliveries, {few} in the end"
    assert sorted(late.receptions) == sorted(set(late.receptions))
    assert max(row["attempts"] for row in table(settings, "delivery")) == 2
