"""The whole gateway in this process: real sockets, real files, a real ledger, a fast engine."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa
from peers import (
    Archive,
    StubbornArchive,
    associated,
    c_store,
    eventually,
    free_port,
    request,
    send,
)
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.gateway.ledger import open_ledger

DEADLINE = 30


@pytest.fixture
def database_url(on_both_databases):
    return on_both_databases


def table(settings, name):
    engine = open_ledger(settings.database_url).engine
    query = sa.text(f"SELECT * FROM {name} ORDER BY id")  # noqa: S608  a name of this file's
    with engine.begin() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    engine.dispose()
    return rows


def modalities(archive, study=None):
    return Counter(i.modality for i in archive.instances if study is None or i.study_instance_uid == study)


def radiographs(count, **tags):
    return [make_radiograph(picture=synthetic_chest(150, 130, seed), **tags) for seed in range(count)]


def test_a_radiograph_gives_one_report_and_one_heatmap_in_its_study(archive, make_settings, serving):
    (radiograph,) = radiographs(1)
    with serving(make_settings(archive)) as gateway:
        assert send([radiograph], gateway.port) == [0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    assert modalities(archive, radiograph.StudyInstanceUID) == {"SR": 1, "OT": 1}
    report, heatmap = (
        next(dcmread(i.path) for i in archive.instances if i.modality == m) for m in ("SR", "OT")
    )
    assert heatmap.SourceImageSequence[0].ReferencedSOPInstanceUID == radiograph.SOPInstanceUID
    assert report.PatientID == heatmap.PatientID == radiograph.PatientID
    assert report.SeriesInstanceUID != heatmap.SeriesInstanceUID != radiograph.SeriesInstanceUID


def test_the_same_instance_again_changes_nothing(archive, make_settings, serving):
    settings = make_settings(archive)
    (radiograph,) = radiographs(1)
    with serving(settings) as gateway:
        assert send([radiograph, radiograph], gateway.port) == [0x0000, 0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        assert send([radiograph], gateway.port) == [0x0000]
    assert len(table(settings, "instance")) == 1
    assert len(archive.receptions) == 2


def test_other_content_under_a_known_uid_is_held(archive, make_settings, serving):
    settings = make_settings(archive)
    first, second = radiographs(2)
    second.SOPInstanceUID = first.SOPInstanceUID
    with serving(settings) as gateway:
        assert send([first], gateway.port) == send([second], gateway.port) == [0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    held = table(settings, "instance")[1]
    assert (held["decision"], held["rung"]) == ("hold", "sop-instance-uid")


def test_a_held_double_does_not_hold_up_the_study(archive, make_settings, serving):
    settings = make_settings(archive, quiet_period=1.0)
    first, second = radiographs(2)
    second.SOPInstanceUID, second.StudyInstanceUID = first.SOPInstanceUID, first.StudyInstanceUID
    with serving(settings) as gateway:
        assert send([first, second], gateway.port) == [0x0000, 0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    assert [row["decision"] for row in table(settings, "instance")] == ["accept", "hold"]


def test_what_was_held_can_be_corrected_and_sent_again(archive, make_settings, serving):
    settings = make_settings(archive)
    (nameless,) = radiographs(1, PatientID="")
    (corrected,) = radiographs(1)
    corrected.SOPInstanceUID = nameless.SOPInstanceUID
    with serving(settings) as gateway:
        assert send([nameless], gateway.port) == [0x0000]
        eventually(lambda: table(settings, "instance")[0]["decision"] == "hold")
        assert send([corrected], gateway.port) == [0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


def test_a_refused_request_does_not_stand_in_the_way_of_a_right_one(archive, make_settings, serving):
    settings = make_settings(archive)
    (radiograph,) = radiographs(1)
    right = request(radiograph)
    wrong = replace(right, sop_instance_uid="1.2.3")
    with serving(settings) as gateway:
        with associated(gateway.port, [(right.sop_class_uid, right.transfer_syntax_uid)]) as association:
            assert [c_store(association, r) for r in (wrong, wrong, right)] == [0xA900, 0xA900, 0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    assert [row["decision"] for row in table(settings, "instance")] == ["refuse", "accept"]


def test_images_of_one_study_are_reported_together(archive, make_settings, serving):
    settings = make_settings(archive, quiet_period=1.0)
    first, second = radiographs(2)
    second.StudyInstanceUID = first.StudyInstanceUID
    with serving(settings) as gateway:
        assert send([first, second], gateway.port) == [0x0000, 0x0000]
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert modalities(archive) == {"SR": 1, "OT": 2}


def test_a_late_image_makes_a_successor(archive, make_settings, serving):
    settings = make_settings(archive)
    first, second = radiographs(2)
    second.StudyInstanceUID = first.StudyInstanceUID
    with serving(settings) as gateway:
        send([first], gateway.port)
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        send([second], gateway.port)
        archive.wait_for(lambda held: len(held) == 4, timeout=DEADLINE)
    old, new = (dcmread(i.path) for i in archive.instances if i.modality == "SR")
    predecessor = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in old
    assert len(archive.receptions) == 4


def test_own_outputs_routed_back_are_ignored(archive, make_settings, serving):
    settings = make_settings(archive)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        heatmap = next(dcmread(i.path) for i in archive.instances if i.modality == "OT")
        assert send([heatmap], gateway.port) == [0x0000]
    row = table(settings, "instance")[1]
    assert (row["decision"], row["rung"], row["file"]) == ("skip", "own-output", None)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("tags", "status", "words"),
    [
        ({"StudyInstanceUID": None}, 0xA900, "StudyInstanceUID is missing"),
        ({"StudyInstanceUID": "1.2/../../3"}, 0xA900, "StudyInstanceUID is not a valid UID"),
        ({"SeriesInstanceUID": "1..2"}, 0xA900, "SeriesInstanceUID is not a valid UID"),
    ],
)
def test_what_cannot_be_filed_is_refused_with_a_sentence(
    archive, make_settings, serving, tags, status, words
):
    settings = make_settings(archive)
    good = radiographs(1)[0]
    bad = make_radiograph(**tags)
    with serving(settings) as gateway:
        assert send([bad, good], gateway.port) == [status, 0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    refused = table(settings, "instance")[0]
    assert refused["decision"] == "refuse"
    assert words in refused["reason"]


def test_what_is_not_reported_says_why(archive, make_settings, serving):
    settings = make_settings(archive)
    lateral = make_radiograph(ViewPosition="LL")
    with serving(settings) as gateway:
        assert send([lateral], gateway.port) == [0x0000]
        eventually(lambda: table(settings, "instance")[0]["decision"])
    row = table(settings, "instance")[0]
    assert row["decision"] == "skip"
    assert row["reason"]
    assert table(settings, "result") == []


def test_a_destination_that_is_down_gets_it_later_and_another_at_once(
    archive, make_settings, serving, tmp_path
):
    late = Archive(tmp_path / "late", ae_title="LATE", port=free_port())
    settings = make_settings(archive, late)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
        eventually(lambda: any(d["attempts"] >= 2 for d in table(settings, "delivery")), timeout=DEADLINE)
        with late:
            late.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
            eventually(lambda: all(d["state"] == "delivered" for d in table(settings, "delivery")))


def test_what_is_undelivered_survives_a_restart(archive, make_settings, serving):
    port = archive.port
    archive.stop()
    settings = make_settings(archive)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        eventually(lambda: len(table(settings, "delivery")) == 2, timeout=DEADLINE)
    archive.start()
    assert archive.port == port
    with serving(settings):
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)


def test_a_refusal_for_good_is_parked_with_its_reason(make_settings, serving, tmp_path):
    with StubbornArchive(tmp_path / "no", ae_title="NO", status=0xA900) as stubborn:
        settings = make_settings(stubborn)
        with serving(settings) as gateway:
            send(radiographs(1), gateway.port)
            eventually(lambda: [d["state"] for d in table(settings, "delivery")] == ["parked"] * 2)
    assert all("A900" in d["reason"] for d in table(settings, "delivery"))


def test_out_of_resources_is_tried_again_and_given_up_in_the_end(make_settings, serving, tmp_path):
    with StubbornArchive(tmp_path / "full", ae_title="FULL", status=0xA700) as full:
        settings = make_settings(full, give_up_after=5.0)
        with serving(settings) as gateway:
            send(radiographs(1), gateway.port)
            eventually(lambda: [d["state"] for d in table(settings, "delivery")] == ["parked"] * 2)
    assert all(d["attempts"] > 1 and "given up" in d["reason"] for d in table(settings, "delivery"))


def test_a_destination_that_left_the_settings_is_parked(archive, make_settings, serving):
    archive.stop()
    settings = make_settings(archive)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        eventually(lambda: len(table(settings, "delivery")) == 2, timeout=DEADLINE)
    settings = settings.model_copy(update={"destination": ()})
    with serving(settings):
        eventually(lambda: [d["state"] for d in table(settings, "delivery")] == ["parked"] * 2)
    assert all("no longer in the settings" in d["reason"] for d in table(settings, "delivery"))


def test_a_deflated_bomb_is_refused_with_its_reason(make_settings, serving):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    film = make_radiograph()
    bomb = replace(
        request(film),
        transfer_syntax_uid=DeflatedExplicitVRLittleEndian,
        data_set=b"".join(compressor.compress(zeros) for _ in range(160)) + compressor.flush(),
    )
    settings = make_settings()
    with (
        serving(settings) as gateway,
        associated(gateway.port, [(bomb.sop_class_uid, bomb.transfer_syntax_uid)]) as association,
    ):
        assert c_store(association, bomb) == 0xC000
    row = table(settings, "instance")[0]
    assert (row["decision"], row["file"]) == ("refuse", None)
    assert "more than the 150994944 bytes that are read" in row["reason"]
