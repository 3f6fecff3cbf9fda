"""Studies by accession number: of what came and of its orders; the ledger itself does not hold the number."""

from __future__ import annotations

import time
import uuid

import pytest
import sqlalchemy as sa
from peers import eventually, send
from performed_steps import creation, scheduled
from radiographs import make_radiograph, synthetic_chest
from test_journey import table
from worklist_items import worklist_item

from cxr_pacs.gateway.accession import accession_digest, studies_of
from cxr_pacs.gateway.ledger import Arrival
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.tables import metadata
from cxr_pacs.worklist import open_worklist
from cxr_pacs.worklist.performed import add_step
from cxr_pacs.worklist.tables import performed_item

NUMBER = "A-4711"


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


def film(number, seed, **tags):
    return make_radiograph(picture=synthetic_chest(150, 130, seed), AccessionNumber=number, **tags)


def test_every_study_with_the_number_is_found_and_no_other(make_settings, serving, caplog):
    settings = make_settings()
    films = [film(NUMBER, 0), film(f" {NUMBER} ", 1, ViewPosition="LL"), film("A-4712", 2), film("", 3)]
    with serving(settings) as gateway:
        assert send(films, gateway.port) == [0] * 4
        eventually(lambda: all(row["decision"] for row in table(settings, "instance")))
    with looking(settings) as ledger, ledger.begin() as connection:
        numbers = (NUMBER, "A-4712", "A-47", "")
        found = [studies_of(connection, settings.site.uid_namespace, number) for number in numbers]
        held = [str(connection.execute(sa.select(one)).all()) for one in metadata.sorted_tables]
    assert found == [[one.StudyInstanceUID for one in some] for some in (films[:2], films[2:3], [], [])]
    assert NUMBER not in "".join(held) + caplog.text


def test_a_study_that_came_before_the_ledger_kept_digests_is_found_by_its_order(make_settings, serving):
    """By the study's UID in it, or by the step that was performed for it."""
    settings = make_settings()
    with serving(settings), looking(settings) as ledger:
        ordered = worklist_item(NUMBER)
        performed, absent = "1.2.3", "1.2.4"
        with ledger.begin() as connection:
            for number, uid in enumerate((ordered.text("StudyInstanceUID"), performed, "1.2.5")):
                arrival = Arrival(
                    digest=str(number), source="DX1", received_at=1.0, study_instance_uid=uid, file="x"
                )
                assert ledger.add_arrival(connection, arrival)
        worklist = open_worklist(settings.database_url)
        with worklist.begin() as connection:
            worklist.put(connection, [ordered], "command", time.time())
            for number, uid in enumerate((performed, absent)):
                step = add_step(connection, f"1.9.{number}", creation(scheduled(uid)), source="DX1", now=1.0)
                link = sa.insert(performed_item).values(step_id=step, item_id=1)
                connection.execute(link)
            found = studies_of(connection, settings.site.uid_namespace, f"{NUMBER} ")
        worklist.engine.dispose()
    assert found == [ordered.text("StudyInstanceUID"), performed]


def test_the_digest_is_the_sites_own():
    ours, others = (accession_digest(uuid.UUID(int=number), NUMBER) for number in (1, 2))
    assert ours != others
    assert accession_digest(uuid.UUID(int=1), "  ") is None
