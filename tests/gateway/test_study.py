"""When a study is reported: the rule by itself, and associations that are released, kept open or dripping."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from peers import associated, c_store, eventually, request, send
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, modalities, table

from cxr_pacs.gateway.ledger import Arrival, open_ledger
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.study import OpenStudy, due_at, hasten_reports, until_due
from cxr_pacs.gateway.tables import released
from cxr_pacs.settings import Settings, StudySettings

seconds = st.floats(0, 1000)
settings_ = st.builds(
    StudySettings,
    quiet_period=seconds,
    quiet_period_of=st.dictionaries(st.sampled_from(["A", "B"]), seconds),
    after_release=seconds,
    longest_wait=seconds,
)


@st.composite
def open_studies(draw):
    first = draw(seconds)
    newest = first + draw(seconds)
    return OpenStudy(
        first=first,
        newest=newest,
        source=draw(st.sampled_from(["A", "B", "C"])),
        released=draw(st.none() | seconds.map(lambda after: newest + after)),
        undecided=draw(st.booleans()),
        ended=draw(st.booleans()),
    )


@given(open_studies(), settings_)
def test_the_first_of_quiet_release_and_longest_wait_decides(waiting, settings):
    quiet = settings.quiet_period_of.get(waiting.source, settings.quiet_period)
    due = due_at(waiting, settings)
    latest = waiting.first + settings.longest_wait
    assert due <= latest
    if waiting.undecided:
        assert due == latest
        return
    assert due <= waiting.newest + quiet
    if waiting.ended:
        assert due == min(waiting.newest, latest)
    elif waiting.released is None:
        assert due == min(waiting.newest + quiet, latest)
    else:
        assert due == min(waiting.newest + quiet, waiting.released + settings.after_release, latest)


@given(open_studies(), settings_, seconds)
def test_a_newer_image_never_hastens_a_report_and_a_release_never_delays_one(waiting, settings, later):
    def due(**changed):
        told = {name: getattr(waiting, name) for name in OpenStudy.__slots__} | changed
        return due_at(OpenStudy(**told), settings)

    assert due(newest=waiting.newest + later, released=None) >= due(released=None)
    assert due() <= due(released=None)


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


def test_each_sender_has_its_own_quiet_period_and_a_clock_set_back_holds_nothing_up(
    tmp_path, on_both_databases
):
    ledger = open_ledger(on_both_databases or f"sqlite:///{tmp_path / 'l.sqlite'}")
    settings = Settings(study=StudySettings(quiet_period=5, quiet_period_of={"SLOW": 20}, longest_wait=60))
    with ledger.begin() as connection:
        for number, (source, at) in enumerate([("SLOW", 100.0), ("FAST", 103.0)]):
            row = ledger.add_arrival(
                connection,
                Arrival(
                    digest=str(number),
                    source=source,
                    received_at=at,
                    study_instance_uid=f"1.{number}",
                    sop_instance_uid=f"1.{number}.1",
                    file="x",
                ),
            )
            ledger.decide(connection, row, decision="accept", rung="r", reason="r")
        studies = [ledger.instance(connection, row).study_id for row in (1, 2)]
        assert [until_due(connection, study, settings, 104.0) for study in studies] == [16.0, 4.0]
        # Anew from then on, and once only.
        assert [until_due(connection, study, settings, 60.0) for study in studies] == [20.0, 5.0]
        assert [until_due(connection, study, settings, 66.0) for study in studies] == [14.0, -1.0]
    ledger.engine.dispose()


def test_a_release_waits_for_who_is_about_to_enqueue_the_report(tmp_path, on_both_databases):
    """Else that one does not see the release, and the release not the report."""
    ledger = open_ledger(on_both_databases or f"sqlite:///{tmp_path / 'l.sqlite'}")
    arrival = Arrival(
        digest="1",
        source="FAST",
        received_at=100.0,
        study_instance_uid="1.1",
        sop_instance_uid="1.1.1",
        file="x",
    )
    hastened = []

    class Reports:
        def hasten(self, name, row, delay):
            hastened.append((name, row, delay))

    with ThreadPoolExecutor(1) as other:
        with ledger.begin() as connection:
            row = ledger.add_arrival(connection, arrival)
        with ledger.begin() as connection:
            lock_study(connection, ledger.instance(connection, row).study_id)
            release = other.submit(hasten_reports, ledger, Reports(), Settings(), ("1.1.1",), 101.0)
            with pytest.raises(TimeoutError):
                release.result(timeout=0.5)
            assert ledger.decide(connection, row, decision="accept", rung="r", reason="r")
        release.result(timeout=DEADLINE)
    ledger.engine.dispose()
    assert hastened == [("report", row, Settings().study.after_release)]


def films(count):
    found = [make_radiograph(picture=synthetic_chest(150, 130, seed)) for seed in range(count)]
    for one in found:
        one.StudyInstanceUID = found[0].StudyInstanceUID
    return found


@pytest.fixture
def patient_settings(make_settings):
    """A quiet period that no test waits for."""

    def make(*peers, **study):
        settings = make_settings(*peers)
        return settings.model_copy(
            update={"study": StudySettings.model_validate({"quiet_period": 600.0} | study)}
        )

    return make


def reports(archive):
    return modalities(archive)["SR"]


def test_a_released_association_hastens_the_report(archive, patient_settings, serving):
    with serving(patient_settings(archive, after_release=0.2)) as gateway:
        assert send(films(2), gateway.port) == [0, 0]
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert reports(archive) == 1


def test_a_release_long_after_the_analysis_hastens_the_report(archive, patient_settings, serving):
    settings = patient_settings(archive, after_release=0.0)
    film = request(films(1)[0])
    with serving(settings) as gateway:
        with associated(gateway.port, [(film.sop_class_uid, film.transfer_syntax_uid)]) as association:
            assert c_store(association, film) == 0
            eventually(lambda: table(settings, "instance")[0]["decision"] == "accept")
            assert archive.instances == ()
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


def test_an_image_after_the_release_makes_a_successor(archive, patient_settings, serving):
    first, second = films(2)
    with serving(patient_settings(archive, after_release=0.0)) as gateway:
        assert send([first], gateway.port) == [0]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        assert send([second], gateway.port) == [0]
        archive.wait_for(lambda held: len(held) == 4, timeout=DEADLINE)
    newest = [dcmread(i.path) for i in archive.instances if i.modality == "SR"][1]
    assert len(newest.PredecessorDocumentsSequence) == 1


def test_the_release_of_another_association_does_not_hasten(archive, patient_settings, serving):
    settings = patient_settings(archive, after_release=0.0)
    first, second = (request(film) for film in films(2))
    contexts = [(first.sop_class_uid, first.transfer_syntax_uid)]
    with (
        serving(settings) as gateway,
        opened(settings) as ledger,
        associated(gateway.port, contexts) as open_one,
    ):
        with associated(gateway.port, contexts) as other:
            assert c_store(other, first) == 0
            assert c_store(open_one, second) == 0
        eventually(lambda: [row["decision"] for row in table(settings, "instance")] == ["accept"] * 2)
        eventually(lambda: len(releases(ledger)) == 1)
        with ledger.begin() as connection:
            assert until_due(connection, 1, settings, time.time()) > 200
        open_one.release()
        eventually(lambda: len(releases(ledger)) == 2)
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert reports(archive) == 1


@contextmanager
def opened(settings):
    ledger = open_ledger(settings.database_url)
    yield ledger
    ledger.engine.dispose()


def releases(ledger):
    with ledger.begin() as connection:
        return connection.execute(sa.select(released)).all()


def test_a_study_into_which_images_keep_dripping_is_reported(archive, patient_settings, serving):
    settings = patient_settings(archive, longest_wait=1.5)
    drops = (request(film) for film in films(100))
    first = next(drops)
    contexts = [(first.sop_class_uid, first.transfer_syntax_uid)]
    with serving(settings) as gateway, associated(gateway.port, contexts) as association:
        assert c_store(association, first) == 0
        while not reports(archive):
            assert c_store(association, next(drops)) == 0  # it runs out of them when there is no report
            eventually(lambda: table(settings, "instance")[-1]["decision"] == "accept")


def test_the_defaults_hasten(tmp_path):
    study = Settings().study
    assert study.after_release < study.quiet_period < study.longest_wait
