"""A report of an archive that comes in the very moment in which somebody decides that it will not."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from cxr_pacs.cli import main
from cxr_pacs.dimse import CommitmentReport, ObjectReference
from cxr_pacs.gateway import commitment_ledger as rows
from cxr_pacs.gateway.commitment import MOST_REPEATS, CommitmentUser
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import commitment, commitment_transaction, study
from cxr_pacs.settings import Settings

DEADLINE = 30
# Seconds in which a report is taken, where nobody makes it wait.
SOON = 1.0
OBJECT = ObjectReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="1.2.3")


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


class Race:
    """A transaction that was asked for long ago, and its report, which comes when the test says so."""

    def __init__(self, site):
        self._site = site
        self.user = CommitmentUser(site)
        self._thread = threading.Thread(target=self._report)
        self.taken = []
        with site.ledger.begin() as connection:
            connection.execute(sa.insert(study).values(study_instance_uid="1.2", last_arrival=0.0))
            self.transaction = rows.add_transaction(connection, 1, "pacs", "asking", 0.0)
            rows.add_object(connection, self.transaction, OBJECT, "results/none", 0.0)
            rows.set_state(connection, self.transaction, "asked", asked_at=0.0)

    def _report(self):
        with self._site.ledger.begin() as connection:
            of_it = commitment_transaction.c.id == self.transaction
            uid = connection.execute(sa.select(commitment_transaction.c.transaction_uid).where(of_it))
            report = CommitmentReport(transaction_uid=uid.scalar_one(), committed=(OBJECT,), failed={})
        self.taken.append(self.user.take_report(report))

    def comes_at(self, monkeypatch, name):
        """Let the report come after the next call of a function of the ledger, and be taken if it can be."""
        real = getattr(rows, name)

        def after(*arguments, **keywords):
            result = real(*arguments, **keywords)
            if self._thread.ident is None:
                self._thread.start()
                self._thread.join(SOON)
            return result

        return monkeypatch.setattr(rows, name, after)

    def state(self):
        self._thread.join(DEADLINE)
        assert self.taken == [True]
        with self._site.ledger.begin() as connection:
            return connection.execute(sa.select(commitment.c.state)).scalar_one()


@pytest.fixture
def race(tmp_path, database_url):
    destination = {"name": "pacs", "ae_title": "P", "host": "h", "port": 1, "commitment": True}
    settings = Settings.model_validate(
        {
            "destination": [destination],
            "database": {"url": database_url},
            "spool": {"path": tmp_path / "spool"},
        }
    )
    spool, ledger = Spool(settings.spool.path), open_ledger(settings.database_url)
    queue = Queue(ledger.engine)
    queue.prepare()
    yield Race(Site(settings=settings, ledger=ledger, spool=spool, queue=queue, clock=lambda: 1e9))
    queue.close()
    ledger.engine.dispose()


def test_a_report_that_comes_as_its_time_ends_counts(race, monkeypatch):
    # Of the two looks, the one of who decides.
    real, looks = rows.open_objects, iter((False, True))
    monkeypatch.setattr(rows, "open_objects", real)
    race.comes_at(monkeypatch, "open_objects")
    hooked = rows.open_objects
    monkeypatch.setattr(rows, "open_objects", lambda *a: hooked(*a) if next(looks, False) else real(*a))
    assert race.user.commit(race.transaction, 2) == "expired"
    assert race.state() == "committed"


def test_a_report_that_comes_as_a_person_is_called_counts(race, monkeypatch):
    with race._site.ledger.begin() as connection:
        connection.execute(sa.update(commitment).values(repeats=MOST_REPEATS))
    race.comes_at(monkeypatch, "fail")
    assert race.user.commit(race.transaction, 2) == "expired"
    assert race.state() == "committed"


def test_a_report_that_comes_as_a_person_asks_again_counts(race, monkeypatch, tmp_path):
    with race._site.ledger.begin() as connection:
        rows.fail(connection, 1, "it did not report", 1e9)
        rows.set_state(connection, race.transaction, "closed")
    race.comes_at(monkeypatch, "failed")
    settings = race._site.settings
    config = tmp_path / "site.toml"
    config.write_text(
        f'[spool]\npath = "{settings.spool.path}"\n[database]\nurl = "{settings.database.url}"\n'
        '[[destination]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\ncommitment = true\n'
    )
    monkeypatch.setattr("cxr_pacs.cli._configure_logging", lambda: None)
    monkeypatch.setattr("cxr_pacs.cli.retry.failed", rows.failed)
    assert main(["retry", "--config", str(config)]) == 0
    assert race.state() == "committed"


def test_what_is_committed_is_not_asked_for_again(race):
    race._thread.start()
    assert race.state() == "committed"
    with race._site.ledger.begin() as connection:
        row = rows.CommitmentRow(
            id=1, transaction_id=1, reference=OBJECT, file="", state="waiting", repeats=1
        )
        rows.repeat(connection, race.transaction, row, "it is late")
    assert race.state() == "committed"
