"""A study read again on request: a successor where something had changed, else nothing new."""

from __future__ import annotations

import dataclasses
import io
import time

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from hypothesis import given
from hypothesis import strategies as st
from peers import dciodvfy, eventually, send
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest
from test_failures import FailingEngine
from test_journey import DEADLINE, modalities, radiographs, table
from test_optional_objects import ALL, documents, held

from cxr_pacs.errors import CannotReadAgain, EvidenceError, NothingToShow
from cxr_pacs.evidence import check
from cxr_pacs.gateway.documents import Writer, newest
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Ledger, ResultRow
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import ask_again, outcome
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.gateway.showing import find_study
from cxr_pacs.inference import Findings

SR = "Comprehensive 3D SR Storage"


def engine(digest="b" * 64, threshold=0.5):
    """A bundle with its own digest, as another threshold or other weights make it."""

    class Other(BrightEngine):
        identity = dataclasses.replace(BrightEngine.identity, digest=digest, version=f"1.{digest[0]}")

        def analyse(self, picture):
            analysis = super().analyse(picture)
            scores = tuple(dataclasses.replace(s, threshold=threshold) for s in analysis.findings.scores)
            return dataclasses.replace(analysis, findings=Findings(scores=scores, model=self.identity))

    return Other()


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


@pytest.fixture
def running():
    """Start a gateway with an engine; the one before is stopped."""
    gateways = []

    def start(settings, with_engine=None):
        while gateways:
            gateways.pop().stop()
        gateways.append(Gateway(settings, with_engine or BrightEngine()))
        gateways[-1].start()
        return settings

    yield start
    while gateways:
        gateways.pop().stop()


def ask(settings, study):
    with looking(settings) as ledger:
        queue = Queue(ledger.engine)
        with ledger.begin() as connection:
            asked, _ = ask_again(connection, queue, study, settings.spool.path, time.time())
        queue.close()
    return asked


def came_of(settings, asked):
    def look():
        with looking(settings) as ledger, ledger.begin() as connection:
            return outcome(connection, asked)

    said = eventually(look, timeout=DEADLINE)
    eventually(lambda: all(d["state"] == "delivered" for d in table(settings, "delivery")), timeout=DEADLINE)
    return said


def reread(settings, study):
    return came_of(settings, ask(settings, study))


def named(document):
    """UIDs of the documents that `document` replaces."""
    return {
        sop.ReferencedSOPInstanceUID
        for study in document.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }


def chain(archive, sop_class=SR):
    return sorted(documents(archive, sop_class), key=lambda d: d.InstanceNumber)


def told(settings, uid):
    with looking(settings) as ledger, ledger.begin() as connection:
        return [event.sentence for event in study_history(connection, uid).events]


def first_report(archive, settings, count=1):
    films = radiographs(count)
    for film in films:
        film.StudyInstanceUID = films[0].StudyInstanceUID
    send(films, settings.dicom.port)
    archive.wait_for(lambda got: len(got) == count + 1, timeout=DEADLINE)
    eventually(lambda: all(d["state"] == "delivered" for d in table(settings, "delivery")))
    return films[0].StudyInstanceUID


def test_where_nothing_has_changed_nothing_new_is_made_or_sent(archive, make_settings, running):
    settings = running(make_settings(archive, quiet_period=1.0))
    study = first_report(archive, settings, 2)
    before = {path: path.read_bytes() for path in settings.spool.path.glob("results/*/*")}
    assert len(before) == 3
    for _ in range(2):
        said, failed = reread(settings, study)
        assert not failed
        assert "nothing had changed" in said
    assert {path: path.read_bytes() for path in settings.spool.path.glob("results/*/*")} == before
    assert len(archive.receptions) == 3
    assert all(row["reported"] for row in table(settings, "instance"))
    assert said in told(settings, study)


@pytest.mark.parametrize("change", ["bundle", "threshold", "settings", "software"])
def test_what_changed_makes_a_successor(archive, make_settings, running, monkeypatch, change):
    settings = running(make_settings(archive).model_copy(update={"objects": ALL}))
    (film,) = radiographs(1)
    study = film.StudyInstanceUID
    send([film], settings.dicom.port)
    archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
    other = BrightEngine()
    if change == "bundle":
        other = engine("c" * 64)
    elif change == "threshold":
        other = engine("d" * 64, threshold=0.3)
    elif change == "settings":
        heatmap = settings.heatmap.model_copy(update={"size": "source"})
        settings = settings.model_copy(update={"heatmap": heatmap})
    else:
        monkeypatch.setattr("cxr_pacs.settings.__version__", "99.0.0")
        monkeypatch.setattr("cxr_pacs.gateway.reading.__version__", "99.0.0")
    running(settings, other)
    said, failed = reread(settings, study)
    assert not failed
    assert modalities(archive, study) == {"OT": 2, "SEG": 2, "PR": 2, "SR": 4, "KO": 2}
    assert len(archive.receptions) == 12
    for sop_class in (SR, "Basic Text SR Storage"):
        old, new = chain(archive, sop_class)
        assert (named(old), named(new)) == (set(), {old.SOPInstanceUID})
        if sop_class == SR:
            assert new.SOPInstanceUID in said
            assert "names the earlier one as its predecessor" in said
    old, new = chain(archive)
    new_heatmap = max(held(archive, "OT"), key=lambda d: (d.ContentDate, d.ContentTime)).SOPInstanceUID
    assert new_heatmap in new.to_json()
    (old_heatmap,) = {d.SOPInstanceUID for d in held(archive, "OT")} - {new_heatmap}
    assert old_heatmap not in new.to_json()
    assert (new.ContentDate, new.ContentTime) > (old.ContentDate, old.ContentTime)
    for instance in archive.instances:
        assert check(dcmread(instance.path)) == ()
        assert [line for line in dciodvfy(instance.path) if line.startswith("Error")] == []
    (earlier,) = table(settings, "earlier_reading")
    assert (earlier["decision"], "'bright'" in str(earlier["findings"]).replace('"', "'")) == ("accept", True)
    history = told(settings, study)
    assert said in history
    assert any("the earlier reading of bright 1: accepted" in sentence for sentence in history)
    assert sum("belongs to an earlier reading" in sentence for sentence in history) == 3
    shown = find_study(settings, study)
    assert [report.SOPInstanceUID for _, report in shown.reports] == [new.SOPInstanceUID]
    assert [picture.SOPInstanceUID for _, picture in shown.pictures] == [new_heatmap]
    assert len(shown.others) == 10
    assert "nothing had changed" in reread(settings, study)[0]
    assert len(archive.receptions) == 12


def test_going_back_to_the_old_bundle_is_a_change_too(archive, make_settings, running):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    running(settings, engine("c" * 64))
    reread(settings, study)
    running(settings)
    said, _ = reread(settings, study)
    assert "names the earlier one" in said
    assert modalities(archive) == {"SR": 3, "OT": 2}
    first, second, third = chain(archive)
    assert [named(d) for d in (first, second, third)] == [
        set(),
        {first.SOPInstanceUID},
        {second.SOPInstanceUID},
    ]
    evidence = first.CurrentRequestedProcedureEvidenceSequence
    assert third.CurrentRequestedProcedureEvidenceSequence == evidence
    assert "nothing had changed" in reread(settings, study)[0]


def test_reports_of_two_models_name_each_other_only_once_one_reads_both(archive, make_settings, running):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    running(settings, engine("c" * 64))
    (late,) = radiographs(2, StudyInstanceUID=study)[1:]
    send([late], settings.dicom.port)
    archive.wait_for(lambda got: len(got) == 4, timeout=DEADLINE)
    apart = chain(archive)
    assert [named(d) for d in apart] == [set(), set()]
    reread(settings, study)
    (both,) = (d for d in chain(archive) if named(d))
    assert named(both) == {d.SOPInstanceUID for d in apart}
    assert both.InstanceNumber == 2
    assert "nothing had changed" in reread(settings, study)[0]


def test_a_late_image_replaces_the_newest_report(archive, make_settings, running):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    running(settings, engine("c" * 64))
    reread(settings, study)
    _, newer = chain(archive)
    (late,) = radiographs(2, StudyInstanceUID=study)[1:]
    send([late], settings.dicom.port)
    archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
    assert named(chain(archive)[-1]) == {newer.SOPInstanceUID}


def test_an_object_that_is_wanted_now_is_sent_beside_the_old_report(archive, make_settings, running):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    settings = running(settings.model_copy(update={"objects": ALL}))
    said, failed = reread(settings, study)
    assert not failed
    assert "the report stays, and 4 object(s) beside it are new" in said
    assert modalities(archive) == {"SR": 2, "OT": 1, "SEG": 1, "PR": 1, "KO": 1}
    assert len(archive.receptions) == 6
    assert "nothing had changed" in reread(settings, study)[0]


def test_an_instance_held_after_a_failure_is_mended(archive, make_settings, running):
    settings = running(make_settings(archive, quiet_period=1.0), FailingEngine(100))
    dark = make_radiograph(picture=synthetic_chest(150, 130, 0) * 0.01)
    bright = make_radiograph(picture=synthetic_chest(150, 130, 1), StudyInstanceUID=dark.StudyInstanceUID)
    send([dark, bright], settings.dicom.port)
    eventually(lambda: table(settings, "instance")[0]["rung"] == "failure", timeout=DEADLINE)
    archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    # one failure that passes is tried again, although five came before it
    running(settings, FailingEngine(1))
    said, failed = reread(settings, dark.StudyInstanceUID)
    assert not failed
    assert [row["decision"] for row in table(settings, "instance")] == ["accept", "accept"]
    first, second = chain(archive)
    assert named(second) == {first.SOPInstanceUID}
    assert second.SOPInstanceUID in said
    assert modalities(archive) == {"SR": 2, "OT": 2}


def test_a_report_that_failed_is_mended(archive, make_settings, running, monkeypatch):
    def refuse(*_):
        raise EvidenceError("no such code")

    settings = make_settings(archive)
    (film,) = radiographs(1)
    with monkeypatch.context() as broken:
        broken.setattr("cxr_pacs.evidence.report", refuse)
        running(settings)
        send([film], settings.dicom.port)
        eventually(lambda: table(settings, "study")[0]["problem"], timeout=DEADLINE)
        assert reread(settings, film.StudyInstanceUID) == (
            "The study was read again, but no report could be made: no such code",
            True,
        )
    said, failed = reread(settings, film.StudyInstanceUID)
    assert not failed
    assert "has its first report" in said
    assert table(settings, "study")[0]["problem"] is None
    archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)


def test_an_original_that_is_gone_is_named_and_nothing_changes(archive, make_settings, running):
    settings = running(make_settings(archive, quiet_period=1.0))
    study = first_report(archive, settings, 2)
    before = table(settings, "instance"), table(settings, "study")
    gone = settings.spool.path / before[0][1]["file"]
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.raises(CannotReadAgain, match=before[0][1]["sop_instance_uid"]) as error:
        ask(settings, study)
    assert "send the very same object" in str(error.value)
    assert (table(settings, "instance"), table(settings, "study")) == before
    assert table(settings, "rerun") == table(settings, "earlier_reading") == []
    send([dcmread(io.BytesIO(kept))], settings.dicom.port)
    assert "nothing had changed" in reread(settings, study)[0]


def test_what_is_held_for_its_uid_is_left_alone(archive, make_settings, running):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    (other,) = radiographs(2, StudyInstanceUID=study)[1:]
    other.SOPInstanceUID = table(settings, "instance")[0]["sop_instance_uid"]
    send([other], settings.dicom.port)
    assert "nothing had changed" in reread(settings, study)[0]
    assert [row["decision"] for row in table(settings, "instance")] == ["accept", "hold"]
    assert len(table(settings, "earlier_reading")) == 1


def test_what_cannot_be_read_again_says_so(archive, make_settings, running):
    settings = running(make_settings(archive))
    lateral = make_radiograph(ViewPosition="LL")
    send([lateral], settings.dicom.port)
    eventually(lambda: table(settings, "instance")[0]["decision"])
    with pytest.raises(CannotReadAgain, match="nothing to read again"):
        ask(settings, lateral.StudyInstanceUID)
    with pytest.raises(NothingToShow, match=r"1\.2\.3: nothing of it was received"):
        ask(settings, "1.2.3")


def test_it_waits_for_a_gateway_and_may_be_asked_twice(archive, make_settings, serving):
    settings = make_settings(archive)
    with serving(settings):
        study = first_report(archive, settings)
    asked = ask(settings, study)
    assert ask(settings, study) == asked
    with serving(settings):
        assert "nothing had changed" in came_of(settings, asked)[0]
    assert len(archive.receptions) == 2


@pytest.mark.parametrize("method", ["decide", "add_result", "set_reported"])
def test_a_step_that_dies_half_way_is_done_again(archive, make_settings, running, monkeypatch, method):
    settings = running(make_settings(archive))
    study = first_report(archive, settings)
    running(settings, engine("c" * 64))
    real, failures = getattr(Ledger, method), []

    def failing(self, *arguments, **values):
        done = real(self, *arguments, **values)
        if not failures:
            failures.append(method)
            raise sa.exc.OperationalError("a statement", None, OSError("the disk is gone"))
        return done

    monkeypatch.setattr(Ledger, method, failing)
    said, failed = reread(settings, study)
    assert (failures, failed) == ([method], False)
    assert "names the earlier one" in said
    assert modalities(archive) == {"SR": 2, "OT": 2}
    assert len(archive.receptions) == 4


def test_a_report_that_is_overtaken_is_not_recorded(archive, make_settings, running, monkeypatch):
    """Asked to read again while a report is being written: that report is of what is past."""
    settings = running(make_settings(archive))
    (film,) = radiographs(1)
    write, asked = Writer.write, []

    def slow(self, *arguments):
        documents = write(self, *arguments)
        if not asked:
            asked.append(ask(settings, film.StudyInstanceUID))
        return documents

    monkeypatch.setattr(Writer, "write", slow)
    send([film], settings.dicom.port)
    eventually(lambda: asked, timeout=DEADLINE)
    said, failed = came_of(settings, asked[0])
    assert not failed
    assert "has its first report" in said
    archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert len(archive.receptions) == 2
    assert [row["kind"] for row in table(settings, "result")] == ["SC", "SR"]


documents_of = st.lists(st.frozensets(st.integers(1, 4), min_size=1), max_size=8)


@given(documents_of, st.frozensets(st.integers(1, 4), min_size=1))
def test_the_newest_document_of_each_image_is_replaced(sources, wanted):
    results = [
        ResultRow(
            id=n, kind=kind, instance_id=None, sop_instance_uid=f"2.25.{n}", file="f", sources=tuple(images)
        )
        for n, (kind, images) in enumerate(((k, s) for s in sources for k in ("SR", "KO")), start=1)
    ]
    found = newest(results, "SR", set(wanted))
    assert list(found) == sorted(found, key=lambda row: row.id)
    for image in wanted:
        of_image = [row.id for row in results if row.kind == "SR" and image in row.sources]
        named_of_image = [row.id for row in found if image in row.sources]
        assert max(named_of_image, default=None) == max(of_image, default=None)
    for row in found:
        later = [r for r in results if r.kind == "SR" and r.id > row.id]
        assert any(all(image not in r.sources for r in later) for image in set(row.sources) & wanted)
