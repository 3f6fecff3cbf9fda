"""Fetching with a gateway in this process and archives that behave and that do not."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from peers import eventually
from pydicom import dcmread
from pydicom.uid import CTImageStorage
from query_archive import QueryArchive
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, modalities, table

from cxr_pacs.cli import main
from cxr_pacs.errors import DestinationUnavailable
from cxr_pacs.gateway import missing
from cxr_pacs.gateway.fetch_record import unfetched_studies
from cxr_pacs.gateway.fetch_schedule import FetchSchedule
from cxr_pacs.gateway.fetching import Fetched, FetchedStudy, Fetcher, local_time
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.missing import Look
from cxr_pacs.gateway.service import storage_service
from cxr_pacs.gateway.tables import fetched
from cxr_pacs.gateway.takeover import local_names
from cxr_pacs.settings import Settings, load_settings


def film(seed, **tags):
    return make_radiograph(picture=synthetic_chest(150, 130, seed), **tags)


@pytest.fixture
def site(tmp_path, make_settings, archive):
    """Write settings: results go to `archive`, and `asked` is asked for what was missed."""

    def make(*asked, method="get", **fetch):
        base = make_settings(archive)
        tables = {
            "dicom": {"port": base.dicom.port},
            "spool": {"path": str(base.spool.path)},
            "study": {"quiet_period": 0.2},
            "fetch": {"patience": 5.0} | fetch,
        }
        lines = [
            line
            for name, keys in tables.items()
            for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
        ]
        for name, peer, extra in (
            ("destination", archive, ""),
            *(("archive", one, f"method = {method!r}") for one in asked),
        ):
            lines += [f"[[{name}]]", f"name = {peer.ae_title!r}", f"ae_title = {peer.ae_title!r}"]
            lines += ["host = '127.0.0.1'", f"port = {peer.port}", extra]
        path = tmp_path / "site.toml"
        path.write_text("\n".join(lines))
        return path

    return make


@pytest.fixture
def fetch(capsys):
    def run(config, *options, since="2026-01-01"):
        status = main(["fetch", "--config", str(config), "--since", since, *options])
        return status, capsys.readouterr()

    return run


@contextmanager
def ran_before(serving, config):
    """A gateway that was started once, so that there is a ledger, and is stopped now."""
    with serving(load_settings(config)):
        pass
    yield load_settings(config)


def test_a_running_gateway_reports_what_was_fetched_and_nothing_is_fetched_twice(
    archive, site, serving, fetch
):
    held = [film(0), film(1), film(2, Modality="MR"), film(3, BodyPartExamined="HAND")]
    with QueryArchive(held) as asked:
        config = site(asked)
        with serving(load_settings(config)):
            status, said = fetch(config)
            assert status == 0, said
            assert "QRSCP: 4 studies, 2 with missing images (2)" in said.out
            assert "left out: 1 series: its modality is not CR or DX" in said.out
            assert "left out: 1 series: Body Part Examined names another part than the chest" in said.out
            archive.wait_for(lambda held: len(held) == 4, timeout=DEADLINE)
            retrieved = len(asked.retrieved)
            assert retrieved == 2
            again, said = fetch(config)
            assert again == 0
            assert "QRSCP: 4 studies, 0 with missing images (0)" in said.out
    assert len(asked.retrieved) == retrieved
    for one in held[:2]:
        assert modalities(archive, one.StudyInstanceUID) == {"SR": 1, "OT": 1}
    rows = table(load_settings(config), "instance")
    assert {row["source"] for row in rows} == {"QRSCP"}
    said = said.out + said.err
    assert all(str(one[k].value) not in said for one in held for k in ("PatientName", "PatientID"))


def test_a_half_received_study_is_completed(archive, site, serving, fetch):
    held = [film(0), film(1)]
    held[1].StudyInstanceUID = held[0].StudyInstanceUID
    with QueryArchive(held[:1]) as asked:
        config = site(asked)
        with ran_before(serving, config) as settings:
            assert fetch(config)[0] == 0
            asked.held = held
            assert fetch(config)[0] == 0
            assert asked.retrieved[1].SOPInstanceUID == held[1].SOPInstanceUID
        with serving(settings):
            archive.wait_for(lambda held: any(i.modality == "SR" for i in held), timeout=DEADLINE)
            eventually(lambda: all(row["reported"] for row in table(settings, "instance")))
    newest = [dcmread(i.path) for i in archive.instances if i.modality == "SR"][-1]
    evidence = newest.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = {one.ReferencedSOPInstanceUID for series in evidence for one in series.ReferencedSOPSequence}
    assert {one.SOPInstanceUID for one in held} <= referenced


def test_our_own_objects_are_not_fetched(archive, site, serving, fetch):
    with QueryArchive([film(0)]) as asked:
        config = site(asked, modalities=["CR", "DX", "OT", "SR"])
        with serving(load_settings(config)):
            assert fetch(config)[0] == 0
            archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
            asked.held += [dcmread(i.path) for i in archive.instances]
            status, said = fetch(config)
    assert status == 0
    assert "1 studies, 0 with missing images" in said.out
    assert len(asked.retrieved) == 1


def test_a_dry_run_fetches_nothing_and_says_what_it_would(site, serving, fetch):
    one = film(0)
    with QueryArchive([one, film(1, SOPClassUID=CTImageStorage)]) as asked:
        config = site(asked)
        with ran_before(serving, config) as settings:
            status, said = fetch(config, "--dry-run")
    assert status == 3
    assert f"would fetch 1 image(s) of study {one.StudyInstanceUID}" in said.out
    assert "left out: 1 image: its SOP class is not read" in said.out
    assert asked.retrieved == []
    assert table(settings, "instance") == []


def test_no_more_studies_than_the_cap_are_fetched_in_one_run(site, serving, fetch):
    with QueryArchive([film(seed) for seed in range(3)]) as asked:
        config = site(asked, most_studies=2)
        with ran_before(serving, config) as settings:
            status, said = fetch(config)
            assert status == 3
            assert "1 studies are left: run it again (fetch.most_studies limits each run)" in said.out
            assert fetch(config)[0] == 0
    assert len(table(settings, "instance")) == 3


def test_what_failed_is_told_and_made_good_by_the_next_run(site, serving, fetch):
    held = [film(0), film(1)]
    held[1].StudyInstanceUID, held[1].SeriesInstanceUID = held[0].StudyInstanceUID, held[0].SeriesInstanceUID

    def breaks_off(event):
        yield 2
        yield 0xFF00, held[0]
        event.assoc.abort()

    with QueryArchive(held, get=breaks_off) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 3
    assert f"study {held[0].StudyInstanceUID}: 1 of 2 images came: QRSCP@" in said.out
    with QueryArchive(held) as honest:
        config = site(honest)
        status, said = fetch(config)
        assert status == 0
        assert honest.retrieved[0].SOPInstanceUID == held[1].SOPInstanceUID
    assert len(table(load_settings(config), "instance")) == 2


def test_another_image_than_the_one_asked_for_is_no_success(site, serving, fetch):
    wanted, other = film(0), film(1)

    def get(_):
        yield 1
        yield 0xFF00, other

    with QueryArchive([wanted], get=get) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 3
    assert "0 of 1 images came: the archive says that all was sent: what came had other UIDs" in said.out


def test_answers_that_belong_to_another_study_are_dropped(site, serving, fetch):
    one, other = film(0), film(1)

    class Confused(QueryArchive):
        def matching(self, asked):
            return self.held if asked.QueryRetrieveLevel == "SERIES" else super().matching(asked)

    with Confused([one, other]) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 0
    assert "2 studies, 2 with missing images (2)" in said.out


def test_too_many_matches_and_an_archive_that_is_away_are_errors(site, serving, fetch, monkeypatch):
    monkeypatch.setattr(missing, "MOST_MATCHES", 2)
    with QueryArchive([film(seed) for seed in range(3)]) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
            assert status == 1
            assert "more than 2 matches" in said.err
    status, said = fetch(config)
    assert status == 1
    assert "could not be reached" in said.err


def test_an_archive_that_goes_silent_is_not_asked_for_every_study(site, serving, fetch):
    def get(event):
        asked.retrieved.append(event.identifier)
        event.assoc.abort()
        yield 0

    with QueryArchive([film(seed) for seed in range(6)], get=get) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 3
    assert len(asked.retrieved) == 3
    assert "3 studies are left" in said.out


def refusing(held, *, first):
    """An archive that answers C001 to every C-GET of the `first` studies that it holds."""
    refused = {one.StudyInstanceUID for one in held[:first]}

    def get(event):
        if event.identifier.StudyInstanceUID in refused:
            asked.retrieved.append(event.identifier)
            yield 1
            yield 0xC001, None
        else:
            yield from asked.get(event)

    asked = QueryArchive(held, get=get)
    return asked


def studies(retrieved):
    return [one.StudyInstanceUID for one in retrieved]


def test_studies_that_the_archive_refuses_do_not_keep_the_others_out(site, serving, fetch):
    held = [film(seed) for seed in range(6)]
    with refusing(held, first=3) as asked:
        config = site(asked, most_studies=4)
        with ran_before(serving, config) as settings:
            status, said = fetch(config)
            assert status == 3
            assert studies(asked.retrieved) == studies(held[:4])
            assert f"study {held[0].StudyInstanceUID}: 0 of 1 images came: QRSCP@" in said.out
            assert "status C001" in said.out
            assert fetch(config)[0] == 3
            # What was never tried comes first.
            assert studies(asked.retrieved[4:]) == studies([*held[4:], *held[:2]])
            assert fetch(config)[0] == 3
            assert studies(asked.retrieved[8:]) == studies([held[2], *held[:2]])
    assert len(table(settings, "instance")) == 3


def test_a_series_that_the_archive_refuses_does_not_keep_the_next_one_out(site, serving, fetch):
    held = [film(0), film(1)]
    held[1].StudyInstanceUID = held[0].StudyInstanceUID

    def get(event):
        if event.identifier.SeriesInstanceUID == held[0].SeriesInstanceUID:
            yield 1
            yield 0xA900, None
        else:
            yield from asked.get(event)

    with QueryArchive(held, get=get) as asked:
        config = site(asked)
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 3
    assert f"study {held[0].StudyInstanceUID}: 1 of 2 images came: QRSCP@" in said.out


class Dated(QueryArchive):
    """Finds no study by its date once `old`."""

    old = False

    def matching(self, asked):
        return [] if self.old and asked.QueryRetrieveLevel == "STUDY" else super().matching(asked)


def test_what_was_not_got_holds_no_range_and_is_asked_for_by_its_uid_for_a_week(tmp_path, site, caplog):
    one, day = film(0), 86_400.0
    with Dated([one]) as asked:
        settings = load_settings(site(asked))
        ledger = open_ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")
        # What comes is not kept.
        storage, now = storage_service(settings.dicom, lambda _: None), [1e9]
        fetcher = Fetcher(settings, ledger, storage, lambda: now[0])
        looks = FetchSchedule(fetcher, settings, ledger, lambda: now[0])
        for days, retrieved in ((0, 1), (1, 2), (6, 3), (7.5, 3), (8, 3)):
            now[0] = 1e9 + days * day
            looks._fetch_missed(settings.archive[0])
            assert len(asked.retrieved) == retrieved
            with ledger.begin() as connection:
                assert connection.execute(sa.select(fetched.c.at)).scalars().all() == [now[0]]
            asked.old = True
        ledger.engine.dispose()
    assert caplog.text.count(f"study {one.StudyInstanceUID} did not come in a week: it is given up") == 1


def test_what_came_otherwise_or_is_gone_is_not_asked_for_again(tmp_path, site):
    with QueryArchive([film(0)]) as asked:
        settings = load_settings(site(asked))
        ledger = open_ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")
        storage = storage_service(settings.dicom, lambda _: None)
        fetcher = Fetcher(settings, ledger, storage, lambda: 1e9)
        (archive,) = settings.archive
        fetcher.fetch(archive, fetcher.look_again(archive, local_time(0.0)))
        with ledger.begin() as connection:
            assert unfetched_studies(connection, archive.name) == (asked.held[0].StudyInstanceUID,)
        asked.held = []
        assert fetcher.look_again(archive, local_time(0.0)).missing == ()
        with ledger.begin() as connection:
            assert unfetched_studies(connection, archive.name) == ()
        ledger.engine.dispose()


def test_what_a_killed_fetch_left_half_written_goes_with_the_next_one(site, serving, fetch):
    with QueryArchive([film(0)]) as asked:
        config = site(asked)
        with ran_before(serving, config) as settings:
            half = settings.spool.path / "incoming" / f"fetch-{next(local_names())}" / "half"
            half.parent.mkdir()
            half.touch()
            assert fetch(config)[0] == 0
    assert not half.exists()


def test_c_move_without_a_running_gateway_says_what_to_do(site, serving, fetch):
    with QueryArchive([film(0)], destinations={"CXRPACS": 1}) as asked:
        config = site(asked, method="move")
        with ran_before(serving, config):
            status, said = fetch(config)
    assert status == 3
    assert "it must be running, and known to the archive" in said.out


def test_c_move_brings_images_to_the_running_gateway(archive, site, serving, fetch):
    one = film(0)
    with QueryArchive([one]) as asked:
        config = site(asked, method="move")
        settings = load_settings(config)
        asked._destinations = {"CXRPACS": settings.dicom.port}
        with serving(settings):
            assert fetch(config)[0] == 0
            archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


def test_the_schedule_fetches_at_the_start_and_never_twice(archive, site, serving):
    with QueryArchive([film(0)]) as asked:
        settings = load_settings(site(asked, every=3600.0))
        with serving(settings):
            archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
            ((_, first),) = eventually(lambda: last_looks(settings))
        with serving(settings):
            eventually(lambda: last_looks(settings)[0][1] > first)
    assert len(asked.retrieved) == 1


class Answers:
    """A fetcher whose answers are given; remembers since when it was asked."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.since = []
        self.asked_in_vain = threading.Event()

    def look_again(self, _archive, since):
        if not self._answers:
            self.asked_in_vain.set()
            raise DestinationUnavailable("no more answers")
        self.since.append(since)
        if isinstance(self._answers[0], Exception):
            raise self._answers.pop(0)
        return Look(studies=0, missing=(), left_out=())

    def fetch(self, _archive, _found, _stopped):
        return self._answers.pop(0)


def one_study(*, untried):
    study = FetchedStudy(uid="1.2", came=1, wanted=2, answered=False, problem="p")
    return Fetched(studies=(study,), postponed=2, untried=untried)


def test_each_look_asks_from_before_the_last_one_that_tried_everything(tmp_path):
    archive = {"name": "pacs", "ae_title": "P", "host": "h", "port": 1}
    settings = Settings.model_validate({"fetch": {"every": 0.01, "look_back": 1.0}, "archive": [archive]})
    answers = Answers(
        one_study(untried=0),
        DestinationUnavailable("away"),
        KeyError("unforeseen"),
        one_study(untried=2),
        one_study(untried=1),
        one_study(untried=0),
        one_study(untried=0),
    )
    times = itertools.count(100_000.0, 10_000.0)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")
    looks = FetchSchedule(answers, settings, ledger, lambda: next(times))
    looks.start()
    assert answers.asked_in_vain.wait(DEADLINE)
    looks.stop(DEADLINE)
    ledger.engine.dispose()
    first, last = local_time(96_400.0), local_time(146_400.0)
    assert answers.since == [first, first, first, first, first, first, last]


def last_looks(settings):
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        rows = connection.execute(sa.select(fetched)).all()
    ledger.engine.dispose()
    return rows


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--from", "nowhere"), 2, "no [[archive]] of the settings is called nowhere"),
        (("--until", "2025-12-31"), 1, "--until is before --since"),
        ((), 1, "there is no ledger"),
    ],
)
def test_wrong_options_are_named(site, fetch, options, status, said):
    with QueryArchive() as asked:
        got, output = fetch(site(asked), *options)
    assert got == status
    assert said in output.err
