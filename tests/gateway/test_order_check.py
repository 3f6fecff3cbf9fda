"""The gateway and the orders of what arrives: agreement, contradiction, absence, release, in this process."""

from __future__ import annotations

import argparse
import contextlib
import io
import time

import pytest
import sqlalchemy as sa
from ordered import PROCEDURE, order_of
from peers import dciodvfy, eventually, send
from pydicom import dcmread
from test_journey import DEADLINE, radiographs, table
from test_optional_objects import ALL
from test_rerun import chain, named, reread, told
from test_retention import NoWorkflows

from cxr_pacs.cli import dismiss, release
from cxr_pacs.evidence import check
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.order_check import releasable
from cxr_pacs.gateway.retention import DAY, Retention
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import delivery
from cxr_pacs.settings import OrderCheckSettings, RetentionSettings, StudySettings
from cxr_pacs.worklist import WorklistItem, open_worklist

WRONG = {"PatientID": "P-SECRET", "PatientName": "Secret^Other"}


@pytest.fixture
def own(make_settings):
    """Settings with the gateway's own worklist."""

    def make(*peers, objects=None, **options):
        settings = make_settings(*peers, **options)
        order_check = settings.order_check.model_copy(update={"worklist": "own"})
        return settings.model_copy(
            update={"order_check": order_check} | ({"objects": objects} if objects else {})
        )

    return make


def put(settings, *orders):
    settings.spool.path.mkdir(parents=True, exist_ok=True)
    worklist = open_worklist(settings.database_url)
    with worklist.begin() as connection:
        worklist.put(connection, map(WorklistItem.of, orders), "test", time.time())
    worklist.engine.dispose()


def rows(settings, name):
    engine = open_ledger(settings.database_url).engine
    with engine.begin() as connection:
        query = sa.text(f"SELECT * FROM {name} ORDER BY instance_id")  # noqa: S608  a name of this file's
        found = [dict(row._mapping) for row in connection.execute(query)]
    engine.dispose()
    return found


def released(settings, tmp_path, *arguments):
    config = tmp_path / "site.toml"
    config.write_text(
        f'spool.path = "{settings.spool.path}"\ndatabase.url = "{settings.database.url}"\n', encoding="utf-8"
    )
    return command(release, *arguments, "--config", config)


def command(module, *arguments):
    parser = argparse.ArgumentParser()
    module.configure(parser)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        status = module.run(parser.parse_args(list(map(str, arguments))))
    return f"{status}: {printed.getvalue()}"


def request_of(document):
    (item,) = document.ReferencedRequestSequence
    (code,) = item.get("RequestedProcedureCodeSequence") or [None]
    return (
        item.AccessionNumber,
        item.RequestedProcedureID,
        item.RequestedProcedureDescription,
        item.PlacerOrderNumberImagingServiceRequest,
        item.FillerOrderNumberImagingServiceRequest,
        code and (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning),
    )


def set_deliveries(settings, state):
    engine = open_ledger(settings.database_url).engine
    with engine.begin() as connection:
        connection.execute(sa.update(delivery).values(state=state))
    engine.dispose()


def after_days(settings, days):
    """What retention does then."""
    ledger = open_ledger(settings.database_url)
    retained = settings.model_copy(update={"retention": RetentionSettings(files_days=5, rows_days=20)})
    site = Site(
        settings=retained,
        ledger=ledger,
        spool=Spool(settings.spool.path),
        queue=NoWorkflows(),
        clock=lambda: time.time() + days * DAY,
    )
    Retention(site).once()
    ledger.engine.dispose()


def decided(settings):
    return [(row["decision"], row["rung"]) for row in table(settings, "instance")]


ORDERED = ("A-0001", "R1", "Thorax p.a.", "PL-1", "FI-1", PROCEDURE)


class TestOnBothDatabases:
    @pytest.fixture
    def database_url(self, on_both_databases):
        return on_both_databases

    def test_the_wrong_patient_is_held_explained_and_released(self, archive, own, serving, tmp_path, caplog):
        settings = own(archive)
        (film,) = radiographs(1)
        put(settings, order_of(film, **WRONG))
        with serving(settings) as gateway:
            send([film], gateway.port)
            eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
            (check_row,) = rows(settings, "order_check")
            assert (check_row["outcome"], check_row["file"]) == ("mismatch", None)
            said = " ".join(told(settings, film.StudyInstanceUID))
            assert "contradicts its order in the worklist in Patient ID, Patient's Name" in said
            assert not archive.receptions
            listed = released(settings, tmp_path, film.StudyInstanceUID)
            assert listed.startswith(f"0: held: {film.SOPInstanceUID} of study")
            assert "1 image(s) that are held for their order would be released with --yes" in listed
            assert decided(settings) == [("hold", "worklist")]
            listed += released(settings, tmp_path, film.SOPInstanceUID, "--yes")
            assert "1 image(s) that are held for their order were released" in listed
            assert "0: 0 image(s)" in released(settings, tmp_path, film.StudyInstanceUID, "--yes")
            archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        (report,) = chain(archive)
        assert "ReferencedRequestSequence" not in report
        assert report.PatientID == film.PatientID
        said += " ".join(told(settings, film.SOPInstanceUID))
        assert "was released by an administrator: it is right as it is" in said
        assert "the earlier reading: held" in said
        assert [row["outcome"] for row in rows(settings, "order_check")] == ["mismatch"]
        for secret in ("SECRET", "Secret", "A-0001", str(film.PatientID), str(film.PatientName)):
            assert secret not in said + listed + caplog.text

    def test_what_agrees_is_reported_with_the_numbers_of_its_order(self, archive, own, serving):
        settings = own(archive, objects=ALL)
        (film,) = radiographs(1)
        put(settings, order_of(film, PatientName="EXAMPLÉ^patient^^"))
        with serving(settings) as gateway:
            send([film], gateway.port)
            archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
        made = [one for one in archive.instances if one.modality in {"SR", "KO"}]
        assert len(made) == 3
        for one in made:
            document = dcmread(one.path)
            assert request_of(document) == ORDERED
            assert check(document) == ()
            assert not [line for line in dciodvfy(one.path) if line.startswith("Error")]
        assert any("has its order, and they agree" in said for said in told(settings, film.StudyInstanceUID))


def test_an_image_without_an_order_is_read_as_ever(archive, own, serving):
    settings = own(archive)
    (film,) = radiographs(1)
    put(settings, order_of(film, AccessionNumber="A-9", StudyInstanceUID="2.25.9", **WRONG))
    with serving(settings) as gateway:
        send([film], gateway.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert "ReferencedRequestSequence" not in chain(archive)[0]
    assert any("the worklist has no order of it" in said for said in told(settings, film.StudyInstanceUID))
    with serving(settings.model_copy(update={"order_check": OrderCheckSettings()})):
        assert "nothing had changed" in reread(settings, film.StudyInstanceUID)[0]
    assert rows(settings, "order_check") == []


def test_what_never_is_read_is_not_compared(archive, own, serving):
    settings = own(archive)
    (lateral,) = radiographs(1, ViewPosition="LL", PatientOrientation=["A", "F"])
    put(settings, order_of(lateral, **WRONG))
    with serving(settings) as gateway:
        send([lateral], gateway.port)
        eventually(lambda: decided(settings) == [("skip", "view_position")], timeout=DEADLINE)
    assert rows(settings, "order_check") == []


def test_the_order_corrected_and_the_study_rerun(archive, own, serving):
    settings = own(archive)
    (film,) = radiographs(1)
    put(settings, order_of(film, **WRONG))
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
        reread(settings, film.StudyInstanceUID)
        assert decided(settings) == [("hold", "worklist")]
        put(settings, order_of(film))
        said, failed = reread(settings, film.StudyInstanceUID)
        assert not failed
        assert "has its first report" in said
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        assert request_of(chain(archive)[0]) == ORDERED
        assert "nothing had changed" in reread(settings, film.StudyInstanceUID)[0]
        put(settings, order_of(film, RequestedProcedureDescription="Thorax"))
        reread(settings, film.StudyInstanceUID)
    first, second = chain(archive)
    assert request_of(second) == (*ORDERED[:2], "Thorax", *ORDERED[3:])
    assert named(second) == {first.SOPInstanceUID}


def test_beside_an_image_that_contradicts_the_order_nothing_refers_to_it(archive, own, serving, tmp_path):
    settings = own(archive)
    right, wrong = radiographs(2)
    wrong.StudyInstanceUID, wrong.PatientSex = right.StudyInstanceUID, "M"
    put(settings, order_of(right, PatientSex="F"))
    right.PatientSex = "F"
    with serving(settings) as gateway:
        send([right, wrong], gateway.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        eventually(lambda: sorted(d for d, _ in decided(settings)) == ["accept", "hold"], timeout=DEADLINE)
        assert "1 image(s)" in released(settings, tmp_path, right.StudyInstanceUID, "--yes")
        archive.wait_for(lambda got: len(got) == 4, timeout=DEADLINE)
    first, second = chain(archive)
    assert request_of(first) == ORDERED
    assert "ReferencedRequestSequence" not in second
    assert named(second) == {first.SOPInstanceUID}


def test_a_held_image_can_be_dismissed(archive, own, serving, tmp_path):
    settings = own(archive)
    (film,) = radiographs(1)
    put(settings, order_of(film, **WRONG))
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
        config = tmp_path / "dismiss.toml"
        config.write_text(f'spool.path = "{settings.spool.path}"\n', encoding="utf-8")
        assert command(dismiss, film.SOPInstanceUID, "--yes", "--config", config).startswith("0: ")
        assert decided(settings) == [("skip", "dismissed")]
        assert "0: 0 image(s)" in released(settings, tmp_path, film.StudyInstanceUID, "--yes")
    assert "1: cxr-pacs: no study" in released(settings, tmp_path, "1.2.3", "--yes")


def test_what_another_released_meanwhile_is_not_counted(own, serving, tmp_path, monkeypatch):
    settings = own()
    (film,) = radiographs(1)
    put(settings, order_of(film, **WRONG))
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        seen = releasable(connection, film.SOPInstanceUID)
    ledger.engine.dispose()
    assert "1 image(s) that are held" in released(settings, tmp_path, film.StudyInstanceUID, "--yes")
    monkeypatch.setattr(release, "releasable", lambda *_: seen)
    last = released(settings, tmp_path, film.StudyInstanceUID, "--yes").splitlines()[-1]
    assert last == "0 image(s) that are held for their order were released"


def test_what_the_order_said_is_pinned_between_analysis_and_report(archive, own, serving):
    patient = StudySettings(quiet_period=600.0, after_release=600.0, longest_wait=600.0)
    settings = own(archive).model_copy(update={"study": patient})
    (film,) = radiographs(1)
    put(settings, order_of(film))
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings)[0][0:1] == ("accept",), timeout=DEADLINE)
    assert not archive.receptions
    put(settings, order_of(film, RequestedProcedureDescription="Changed since", **WRONG))
    quick = settings.model_copy(update={"study": StudySettings(quiet_period=0.0)})
    with serving(quick):
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert request_of(chain(archive)[0]) == ORDERED


def test_a_cancelled_order_counts_only_where_there_is_no_other(archive, own, serving):
    settings = own(archive)
    (film,) = radiographs(1)
    put(settings, order_of(film), order_of(film, step="S2", **WRONG))
    worklist = open_worklist(settings.database_url)
    with worklist.begin() as connection:
        (first, _) = worklist.of_order(connection, accession_number="A-0001")
        worklist.set_state(connection, first.id, "CANCELLED", time.time())
    worklist.engine.dispose()
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)


def test_retention_takes_what_the_order_said_with_the_other_files(archive, own, serving):
    settings = own(archive)
    (film,) = radiographs(1)
    put(settings, order_of(film))
    with serving(settings) as gateway:
        send([film], gateway.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        eventually(lambda: {d["state"] for d in table(settings, "delivery")} == {"delivered"})
    (kept,) = settings.spool.path.glob("orders/*/*.dcm")
    for days, state, is_kept in (
        (1.0, "delivered", True),
        (10.0, "waiting", True),
        (10.0, "delivered", False),
    ):
        set_deliveries(settings, state)
        after_days(settings, days)
        assert kept.exists() is is_kept
    assert not list(settings.spool.path.glob("*/*/*.dcm"))
    after_days(settings, 30.0)
    assert rows(settings, "order_check") == []
