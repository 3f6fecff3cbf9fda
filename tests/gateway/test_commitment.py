"""Storage commitment, both roles, in this process: real sockets, a real ledger, a fast engine."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
import sqlalchemy as sa
from committing import Asked, AskingModality, CommittingArchive
from peers import associated, c_store, eventually, request, send
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage, generate_uid
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.cli import main
from cxr_pacs.gateway.commitment import MOST_REPEATS
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.service import Gateway, Role
from cxr_pacs.gateway.tables import removed
from cxr_pacs.settings import CommitmentSettings, ModalitySettings, RouteSettings

DEADLINE = 30
CLASS = DigitalXRayImageStorageForPresentation
GROUP_LENGTH = b"\x08\0\0\0UL\4\0\x10\0\0\0"


def table(settings, name):
    engine = open_ledger(settings.database_url).engine
    query = sa.text(f"SELECT * FROM {name} ORDER BY id")  # noqa: S608  a name of this file's
    with engine.begin() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    engine.dispose()
    return rows


def states(settings):
    return Counter(row["state"] for row in table(settings, "commitment"))


def reasons(settings):
    return {row["reason"] for row in table(settings, "commitment")}


def radiograph(**tags):
    return make_radiograph(picture=synthetic_chest(150, 130, 0), **tags)


@pytest.fixture
def make_site(tmp_path, make_settings):
    """An archive that commits, and settings that ask it."""
    archives = []

    def make(reports, **pace):
        archive = CommittingArchive(tmp_path / "archive", reports=reports, client=("CXRPACS", 0))
        archive.start()
        archives.append(archive)
        settings = make_settings(archive)
        archive.client = ("CXRPACS", settings.dicom.port)
        (destination,) = settings.destination
        wait = 0.2 if reports == "never" else 5.0
        return archive, settings.model_copy(
            update={
                "destination": (destination.model_copy(update={"commitment": True}),),
                "commitment": CommitmentSettings(**({"gather": 0.3, "wait": wait} | pace)),
            }
        )

    yield make
    for archive in archives:
        archive.stop()


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Run a command over the settings, in the process of the gateway: its log stays where it is."""
    monkeypatch.setattr("cxr_pacs.cli._configure_logging", lambda: None)

    def run(settings, *arguments):
        config = tmp_path / "site.toml"
        (destination,) = settings.destination
        config.write_text(
            f'[spool]\npath = "{settings.spool.path}"\n[database]\nurl = "{settings.database.url}"\n'
            f'[[destination]]\nname = "{destination.name}"\n'
            f'ae_title = "{destination.ae_title}"\nhost = "127.0.0.1"\nport = {destination.port}\n'
            f"commitment = true\n"
        )
        with redirect_stdout(io.StringIO()) as out:
            status = main([*map(str, arguments), "--config", str(config)])
        return status, out.getvalue()

    return run


@pytest.mark.parametrize(
    ("reports", "database_url"), [("same", "sqlite"), ("new", "postgresql")], indirect=["database_url"]
)
def test_what_was_delivered_is_committed_in_one_transaction(make_site, serving, told, reports):
    archive, settings = make_site(reports)
    film = radiograph()
    with serving(settings) as gateway:
        assert send([film], gateway.port) == [0x0000]
        eventually(lambda: states(settings) == {"committed": 2}, timeout=DEADLINE)
        eventually(lambda: table(settings, "commitment_transaction")[0]["state"] == "closed")
        status, out = told(settings, "status")
    assert status == 0
    assert "2 committed, 0 to be committed, 0 not committed" in out
    (asked,) = archive.asked
    assert asked.objects == {i.sop_instance_uid: i.sop_class_uid for i in archive.instances}
    assert asked.transaction_uid.startswith("2.25.")
    assert archive.answers == [0x0000]
    status, out = told(settings, "why", film.StudyInstanceUID)
    assert status == 0
    assert "Storage of the report was committed by pacs0." in out
    assert "Storage of the heatmap was committed by pacs0." in out


def test_a_site_that_does_not_want_it_asks_nobody(make_site, make_settings, serving):
    archive, _ = make_site("same")
    settings = make_settings(archive)
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        eventually(lambda: [row["state"] for row in table(settings, "delivery")] == ["delivered"] * 2)
    assert table(settings, "commitment") == []
    assert archive.asked == []


def test_a_report_that_comes_twice_and_a_foreign_one(make_site, serving, caplog):
    archive, settings = make_site("never")
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        (asked,) = eventually(lambda: archive.asked)
        foreign = Asked(transaction_uid="1.2.3", objects=asked.objects, association=asked.association)
        archive.report(foreign)
        assert states(settings) == {"waiting": 2}
        archive.report(asked)
        archive.report(asked, dict.fromkeys(asked.objects, 0x0112))
    assert archive.answers == [0x0115, 0x0000, 0x0000]
    assert states(settings) == {"committed": 2}
    assert "ARCHIVE: a transaction that is not known" in caplog.text


def test_an_archive_that_lost_it_gets_it_again_until_it_needs_a_person(make_site, serving, told):
    archive, settings = make_site("same", gather=0.5)
    archive.failure = 0x0112
    film = radiograph()
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: states(settings) == {"failed": 2}, timeout=DEADLINE)
        assert set(Counter(archive.receptions).values()) == {1 + MOST_REPEATS}
        assert len({asked.transaction_uid for asked in archive.asked}) == 1 + MOST_REPEATS
        assert archive.conflicts == []
        assert reasons(settings) == {"pacs0 answered 0112, no such object instance"}
        status, out = told(settings, "status")
        assert status == 3
        assert "0 committed, 0 to be committed, 2 not committed" in out
        status, out = told(settings, "why", film.StudyInstanceUID)
        assert status == 3
        assert "was not committed by pacs0: pacs0 answered 0112, no such object instance." in out
        assert out.endswith("The storage of 2 object(s) is not committed and needs a person.\n")
        archive.failure = None
        assert told(settings, "retry")[1] == (
            "0 parked object(s) are sent again\n2 object(s) are asked for commitment again\n"
        )
        eventually(lambda: states(settings) == {"committed": 2}, timeout=DEADLINE)


def test_only_what_failed_is_sent_and_asked_for_again(make_site, serving):
    archive, settings = make_site("never", wait=0.0)
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        (first,) = eventually(lambda: archive.asked)
        lost, held = first.objects
        archive.report(first, {lost: 0x0112})
        _, second = eventually(lambda: len(archive.asked) == 2 and archive.asked, timeout=DEADLINE)
        assert set(second.objects) == {lost}
        assert second.transaction_uid != first.transaction_uid
        archive.report(second)
    assert states(settings) == {"committed": 2}
    assert Counter(archive.receptions) == {lost: 2, held: 1}


def test_an_original_that_was_lost_is_sent_again_as_it_came(make_site, serving):
    archive, settings = make_site("same")
    archive.failure = 0x0112
    route = RouteSettings(destinations=("pacs0",), objects=("original",))
    wanted = request(radiograph(ViewPosition="LL"))
    # With a group length, which is not written again where the data set is encoded anew.
    odd = replace(wanted, data_set=GROUP_LENGTH + wanted.data_set)
    with serving(settings.model_copy(update={"route": (route,)})) as gateway:
        with associated(gateway.port, [(odd.sop_class_uid, odd.transfer_syntax_uid)]) as association:
            assert c_store(association, odd) == 0x0000
        eventually(lambda: len(archive.receptions) >= 2, timeout=DEADLINE)
        archive.failure = None
        eventually(lambda: states(settings) == {"committed": 1}, timeout=DEADLINE)
    assert archive.conflicts == []
    (kept,) = archive.instances
    assert kept.digest == hashlib.sha256(odd.data_set).hexdigest()


def test_a_failure_for_good_needs_a_person_at_once_who_may_dismiss_it(make_site, serving, told):
    archive, settings = make_site("same")
    archive.failure = 0x0122
    film = radiograph()
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: states(settings) == {"failed": 2}, timeout=DEADLINE)
        (asked,) = archive.asked
        assert reasons(settings) == {"pacs0 answered 0122, referenced SOP class not supported"}
        none = "0 parked object(s), 0 held or unreported instance(s) and"
        assert told(settings, "dismiss", "--destination", "pacs1")[1].startswith(f"{none} 0 failed")
        _, out = told(settings, "dismiss", film.StudyInstanceUID)
        for uid in asked.objects:
            of = f"not committed by pacs0: {uid} of study {film.StudyInstanceUID}"
            assert f"{of}\n    pacs0 answered 0122, referenced SOP class not supported\n" in out
        assert out.endswith(f"{none} 2 failed commitment(s) would be dismissed with --yes\n")
        assert states(settings) == {"failed": 2}
        assert told(settings, "dismiss", "--yes")[1].endswith("2 failed commitment(s) were dismissed\n")
        assert told(settings, "status")[0] == 0
        status, out = told(settings, "why", film.StudyInstanceUID)
        assert status == 0
        assert "The missing commitment of the heatmap by pacs0 was dismissed by an administrator. " in out
        assert told(settings, "retry")[1] == "0 parked object(s) are sent again\n"
        # The archive has learned the class since.
        archive.report(asked, {})
    assert states(settings) == {"committed": 2}


def test_no_report_in_time_is_a_new_transaction(make_site, serving, told):
    archive, settings = make_site("never", report_within=1.0)
    film = radiograph()
    with serving(settings) as gateway:
        send([film], gateway.port)
        first, second, *_ = eventually(lambda: len(archive.asked) >= 2 and archive.asked, timeout=DEADLINE)
        assert first.objects == second.objects
        assert first.transaction_uid != second.transaction_uid
        status, out = told(settings, "why", film.StudyInstanceUID)
        assert status == 3
        assert out.endswith("All 2 deliveries were taken. The storage of 2 object(s) is not committed yet.\n")
        # The word of the first one counts though it is late.
        archive.report(first)
    assert states(settings) == {"committed": 2}


def test_an_archive_that_never_reports_needs_a_person_until_it_does(make_site, serving):
    archive, settings = make_site("never", report_within=0.1)
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        eventually(lambda: states(settings) == {"failed": 2}, timeout=DEADLINE)
        assert len(archive.asked) == 1 + MOST_REPEATS
        assert all("did not report within" in reason for reason in reasons(settings))
        archive.report(archive.asked[-1])
    assert states(settings) == {"committed": 2}


def test_a_request_that_is_not_taken_is_repeated_under_its_uid(make_site, serving):
    archive, settings = make_site("same")
    archive.action_status = 0x0213
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        eventually(lambda: len(archive.asked) >= 2, timeout=DEADLINE)
        assert "0213" in table(settings, "commitment_transaction")[0]["reason"]
        archive.action_status = 0x0000
        eventually(lambda: states(settings) == {"committed": 2}, timeout=DEADLINE)
    assert len({asked.transaction_uid for asked in archive.asked}) == 1


def test_an_archive_that_knows_no_commitment_needs_a_person(archive, make_settings, serving):
    settings = make_settings(archive)
    (destination,) = settings.destination
    asking = destination.model_copy(update={"commitment": True})
    settings = settings.model_copy(
        update={"destination": (asking,), "commitment": CommitmentSettings(gather=0.1)}
    )
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        eventually(lambda: states(settings) == {"failed": 2}, timeout=DEADLINE)
    assert all("no presentation context for Storage Commitment" in reason for reason in reasons(settings))


def test_a_transaction_outlives_the_gateway(make_site, serving):
    archive, settings = make_site("never")
    with serving(settings) as gateway:
        send([radiograph()], gateway.port)
        (asked,) = eventually(lambda: archive.asked)
    with serving(settings):
        archive.report(asked)
    assert states(settings) == {"committed": 2}


@pytest.fixture
def modality():
    with AskingModality() as running:
        yield running


@pytest.fixture
def provider(make_settings, modality):
    """Settings of a gateway that vouches, and knows where the modality is."""
    known = ModalitySettings(ae_title=modality.ae_title, host="127.0.0.1", port=modality.port)
    return make_settings().model_copy(
        update={"commitment": CommitmentSettings(provide=True), "modality": (known,)}
    )


@pytest.mark.parametrize("released", [False, True])
def test_a_modality_is_told_what_is_kept(provider, serving, modality, released):
    film = radiograph(ViewPosition="LL")
    with serving(provider) as gateway:
        assert send([film], gateway.port) == [0x0000]
        wanted = {film.SOPInstanceUID: CLASS, "1.2.3": CLASS}
        with modality.asking(gateway.port) as association:
            uid, status = modality.ask(association, wanted)
            assert status == 0x0000
            if not released:
                modality.wait()
        (report,) = modality.wait()
        eventually(lambda: table(provider, "commitment_request")[0]["state"] == "told")
    assert report.transaction_uid == uid
    assert report.event_type == 2
    assert report.committed == (film.SOPInstanceUID,)
    assert report.failed == {"1.2.3": 0x0112}


def test_all_kept_and_another_class(provider, serving, modality):
    film = radiograph()
    with serving(provider) as gateway:
        send([film], gateway.port)
        with modality.asking(gateway.port) as association:
            modality.ask(association, {film.SOPInstanceUID: CLASS})
            modality.ask(association, {film.SOPInstanceUID: SecondaryCaptureImageStorage})
        modality.wait(2)
    by_type = {report.event_type: report for report in modality.told}
    assert by_type[1].committed == (film.SOPInstanceUID,)
    assert by_type[2].failed == {film.SOPInstanceUID: 0x0119}


def gone(settings, file):
    (settings.spool.path / file).unlink()


def about_to_go(settings, file):
    engine = open_ledger(settings.database_url).engine
    with engine.begin() as connection:
        connection.execute(sa.insert(removed).values(file=file, at=0.0))
    engine.dispose()


@pytest.mark.parametrize("fate", [gone, about_to_go])
def test_what_was_kept_and_is_not_any_more_is_not_vouched_for(provider, serving, modality, fate):
    film = radiograph()
    with serving(provider) as gateway:
        send([film], gateway.port)
        fate(provider, table(provider, "instance")[0]["file"])
        with modality.asking(gateway.port) as association:
            modality.ask(association, {film.SOPInstanceUID: CLASS})
        (report,) = modality.wait()
    assert report.failed == {film.SOPInstanceUID: 0x0112}


def test_the_same_request_again_is_reported_again_and_another_under_its_uid_refused(
    provider, serving, modality
):
    uid = str(generate_uid(prefix=None))
    with serving(provider) as gateway:
        for count in (1, 2):
            with modality.asking(gateway.port) as association:
                assert modality.ask(association, {"1.2.3": CLASS}, uid)[1] == 0x0000
            modality.wait(count)
            eventually(lambda: table(provider, "commitment_request")[0]["state"] == "told")
        with modality.asking(gateway.port) as association:
            assert modality.ask(association, {"1.2.4": CLASS}, uid)[1] == 0x0115


def test_a_modality_that_is_down_is_told_after_a_restart(provider, serving, modality):
    modality.__exit__()
    with serving(provider) as gateway, modality.asking(gateway.port) as association:
        uid, _ = modality.ask(association, {"1.2.3": CLASS})
        association.release()
        eventually(lambda: table(provider, "commitment_request")[0]["state"] == "waiting")
    modality.__enter__()
    with serving(provider):
        (report,) = modality.wait()
    assert report.transaction_uid == uid


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_a_receiver_took_a_worker_tells(provider, serving, modality):
    receiver = Gateway(provider, None, Role.RECEIVER)
    receiver.start()
    try:
        with modality.asking(provider.dicom.port) as association:
            uid, status = modality.ask(association, {"1.2.3": CLASS})
    finally:
        receiver.stop()
    assert status == 0x0000
    assert [row["state"] for row in table(provider, "commitment_request")] == ["waiting"]
    with serving(provider):
        (report,) = modality.wait()
    assert report.transaction_uid == uid


def test_a_modality_of_unknown_address_that_released_is_not_told(provider, serving, modality, caplog):
    settings = provider.model_copy(update={"modality": ()})
    with serving(settings) as gateway:
        with modality.asking(gateway.port) as association:
            modality.ask(association, {"1.2.3": CLASS})
        eventually(lambda: table(settings, "commitment_request")[0]["state"] == "failed", timeout=DEADLINE)
    assert "DX1 is not open here any more, and no [[modality]] says where it is" in caplog.text
    assert modality.told == []
