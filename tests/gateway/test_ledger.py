"""The ledger by itself: whatever comes in whatever order, each data set has one row."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy import zeros

from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.owed import DELIVER, finish, get, owe, postpone
from cxr_pacs.gateway.tables import instance
from cxr_pacs.gateway.tables import study as study_table
from cxr_pacs.inference import Patient, withhold

arrivals = st.builds(
    lambda study, sop, content, at: Arrival(
        digest=f"{study}.{sop}.{content}",
        source="MODALITY",
        received_at=float(at),
        study_instance_uid=f"1.{study}",
        sop_instance_uid=f"1.{study}.{sop}",
        sop_class_uid="1.2",
        file="x",
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(0, 100),
)


@pytest.fixture
def ledger(tmp_path, on_both_databases):
    opened = open_ledger(on_both_databases or f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def sqlite_ledger(tmp_path):
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.engine.dispose()


@given(st.lists(arrivals, max_size=25))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_data_set_has_one_row_and_each_uid_one_that_is_read(ledger, received):
    first_of_uid = {}
    seen = set()
    latest = {}
    with ledger.engine.connect() as connection:
        for arrival in received:
            row = ledger.add_arrival(connection, arrival)
            assert (row is None) == (arrival.digest in seen)
            seen.add(arrival.digest)
            if row is not None:
                first = first_of_uid.setdefault(arrival.sop_instance_uid, arrival.digest)
                waits = ledger.decision(connection, row) == (None, None)
                assert waits == (first == arrival.digest)
                study = ledger.instance(connection, row).study_id
                if first == arrival.digest:
                    times = latest.setdefault(study, [])
                    times.append(arrival.received_at)
                newest = sa.select(study_table.c.last_arrival).where(study_table.c.id == study)
                assert connection.execute(newest).scalar_one() == max(latest[study])
        connection.rollback()


def arrive(ledger, connection, **more):
    return ledger.add_arrival(
        connection,
        Arrival(
            digest="d",
            source="A",
            received_at=1.0,
            study_instance_uid="1.2",
            sop_instance_uid="1.3",
            file="f",
            **more,
        ),
    )


def test_a_decision_is_made_once(ledger):
    with ledger.begin() as connection:
        row = arrive(ledger, connection)
        assert ledger.decide(connection, row, decision="accept", rung="r", reason="x")
        assert not ledger.decide(connection, row, decision="hold", rung="r", reason="x")
        assert ledger.instance(connection, row).decision == "accept"


def test_findings_come_back_as_they_were(ledger):
    findings = BrightEngine().analyse(zeros((64, 64), "float32")).findings
    findings = withhold(findings, BrightEngine.claims[:2], Patient(age_years=54, view=None))
    assert findings.scores
    assert findings.withheld
    with ledger.begin() as connection:
        row = arrive(ledger, connection)
        ledger.add_findings(connection, row, findings, ("remark",))
    with ledger.begin() as connection:
        kept = ledger.instance(connection, row)
    assert kept.findings == findings
    assert kept.quality == ("remark",)


def test_findings_kept_by_an_earlier_version_are_readable(ledger):
    findings = BrightEngine().analyse(zeros((64, 64), "float32")).findings
    with ledger.begin() as connection:
        row = arrive(ledger, connection)
        ledger.add_findings(connection, row, findings, ())
        kept = asdict(findings)
        del kept["withheld"], kept["model"]["classes"]
        connection.execute(sa.update(instance).values(findings=kept))
        found = ledger.instance(connection, row).findings
    assert found.scores == findings.scores
    assert (found.withheld, found.model.classes) == ((), ())


def test_an_object_is_owed_once_to_each_destination(ledger):
    with ledger.begin() as connection:
        study = ledger.instance(connection, arrive(ledger, connection)).study_id
        made = MadeObject(study_id=study, kind="SR", sop_instance_uid="2.25.1", file="f")
        result = ledger.add_result(connection, made)
        assert ledger.add_result(connection, made) is None
        row = owe(connection, DELIVER, result, "pacs", 1.0)
        assert owe(connection, DELIVER, result, "pacs", 2.0) is None
        assert owe(connection, DELIVER, result, "other", 2.0) is not None
        finish(connection, DELIVER, row, state="delivered", now=3.0, reason=None)
        postpone(connection, DELIVER, row, attempts=9, next_at=9.0, reason="late")
        assert get(connection, DELIVER, row).state == "delivered"


def test_two_receivers_read_one_of_two_contents_under_one_uid(ledger):
    """Both arrive before either is committed."""
    contents = [
        Arrival(
            digest=digest,
            source="A",
            received_at=1.0,
            study_instance_uid=f"1.{digest}",
            sop_instance_uid="1.9",
            file="f",
        )
        for digest in ("1", "2")
    ]
    together = threading.Barrier(2)

    def receive(arrival):
        with ledger.begin() as connection:
            together.wait(30)
            row = ledger.add_arrival(connection, arrival)
            return ledger.decision(connection, row)[0]

    with ThreadPoolExecutor(2) as receivers:
        assert set(receivers.map(receive, contents)) == {None, "hold"}


def test_processes_that_start_together_make_the_tables_once(tmp_path, on_both_databases):
    new_files = [f"sqlite:///{tmp_path / str(n)}.sqlite" for n in range(20)]
    for url in [on_both_databases] if on_both_databases else new_files:
        with ThreadPoolExecutor(4) as starters:
            for opened in starters.map(open_ledger, [url] * 4):
                opened.engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(ledger):
    with ledger.engine.connect() as connection:
        arrive(ledger, connection)
        connection.rollback()
    with ledger.begin() as connection:
        assert arrive(ledger, connection) is not None


def test_the_file_is_its_owners_alone(sqlite_ledger):
    path = Path(sqlite_ledger.engine.url.database)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/l.sqlite", "nonsense", "mysql://x/y"])
def test_a_database_that_cannot_be_opened_names_its_setting(url):
    with pytest.raises(ConfigurationError, match=r"database\.url"):
        open_ledger(url)
