"""`cxr-pacs rerun`: what is said where nothing can be read again, and where no gateway runs."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from peers import eventually, free_port, send
from radiographs import make_radiograph
from written_site import STUDY, why

from cxr_pacs.gateway.service import Gateway
from cxr_pacs.gateway.tables import instance, rerun, study
from cxr_pacs.settings import load_settings


@pytest.fixture
def gateway(site):
    """A gateway of the site, for the length of a ``with``."""
    text = site.config.read_text(encoding="utf-8")
    site.config.write_text(f"[dicom]\nport = {free_port()}\n[study]\nquiet_period = 0.0\n{text}")

    @contextmanager
    def run():
        settings = load_settings(site.config)
        running = Gateway(settings, BrightEngine())
        running.start()
        try:
            yield settings.dicom.port
        finally:
            running.stop()
            # DBOS holds on to a stream that the test's capture closes.
            logging.getLogger("dbos").handlers.clear()

    return run


def keep(site, digest):
    path = site.config.parent / "originals" / f"{digest}.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a film")
    return path


def rows(site, table):
    with site.ledger.begin() as connection:
        return connection.execute(sa.select(table)).all()


def again(told, site, uid=STUDY):
    return told("rerun", uid, "--wait", "0", "--config", site.config)


def test_beside_a_running_gateway_it_says_what_came_of_it(site, told, gateway):
    film = make_radiograph()
    with gateway() as port:
        send([film], port)
        eventually(lambda: [row.reported for row in rows(site, instance)] == [True])
        status, out, _ = told("rerun", film.StudyInstanceUID, "--config", site.config)
    asked, came = out.splitlines()
    assert status == 0
    assert asked == f"1 instance(s) of study {film.StudyInstanceUID} are read again"
    assert came.startswith("The study was read again, and nothing had changed: ")


def test_without_a_gateway_it_is_asked_for_and_waits(site, told, gateway):
    with gateway():
        pass  # where none ever ran there is no queue yet
    site.report(site.arrive("a", "accept"), site.arrive("b", "hold"), site.arrive("c", "skip"))
    keep(site, "a"), keep(site, "b")
    with site.ledger.begin() as connection:
        site.ledger.set_problem(connection, 1, "Two patients in one study.")
    for _ in range(2):
        status, out, _ = again(told, site)
        assert status == 3
        assert out.splitlines()[0] == f"2 instance(s) of study {STUDY} are read again"
        assert f"not done yet: a gateway must run; cxr-pacs why {STUDY} tells" in out
    assert len(rows(site, rerun)) == 1
    assert [row.decision for row in rows(site, instance)] == [None, None, "skip"]
    assert rows(site, study)[0].problem is None
    status, lines = why(told, site)
    assert status == 3
    assert lines[-1] == "The analysis of 2 instance(s) is not done yet."
    assert any(line.endswith("The study is to be read again: this is not done yet.") for line in lines)
    assert any(line.endswith("the earlier reading: held: A chest.") for line in lines)


def test_what_is_not_kept_any_more_is_named_and_nothing_is_changed(site, told):
    site.report(site.arrive("a", "accept"), site.arrive("b", "accept"))
    keep(site, "a")
    before = rows(site, instance), rows(site, study)
    status, out, err = again(told, site)
    assert (status, out) == (1, "")
    assert f"the original of instance {STUDY}.98 is no longer in the spool, and nothing was changed" in err
    assert err.count("\n") == 1
    assert (rows(site, instance), rows(site, study), rows(site, rerun)) == (*before, [])


@pytest.mark.parametrize("decision", ["skip", "refuse"])
def test_where_nothing_was_accepted_there_is_nothing_to_read(site, told, decision):
    site.arrive("a", decision)
    status, _, err = again(told, site)
    assert status == 1
    assert "there is nothing to read again" in err


def test_what_never_came_is_not_read_again(site, told):
    status, _, err = again(told, site, "1.2.3")
    assert status == 1
    assert "1.2.3: nothing of it was received" in err


def test_no_ledger_is_made_by_asking(tmp_path, told):
    config = tmp_path / "site.toml"
    config.write_text(f'[spool]\npath = "{tmp_path}"\n')
    status, _, err = told("rerun", STUDY, "--config", config)
    assert status == 1
    assert "there is no ledger" in err
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]
