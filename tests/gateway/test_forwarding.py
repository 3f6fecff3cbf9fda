"""Originals sent on, and results by route: real sockets, in this process."""

from __future__ import annotations

import hashlib

import pytest
from peers import Archive, eventually, of_modality, request, send
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, table

from cxr_pacs.settings import Settings


@pytest.fixture
def routed(make_settings):
    """Settings with further destinations and with routes."""

    def make(*peers, destinations=(), routes=()):
        settings = make_settings(*peers).model_dump()
        settings["destination"] = [*settings["destination"], *destinations]
        return Settings.model_validate(settings | {"route": list(routes)})

    return make


def film(seed=0, **tags):
    return make_radiograph(picture=synthetic_chest(150, 130, seed), **tags)


def states(settings, name="forwarding"):
    return sorted((row["destination"], row["state"]) for row in table(settings, name))


def test_originals_are_forwarded_at_once_byte_for_byte_whatever_becomes_of_them(
    archive, routed, serving, tmp_path
):
    (tmp_path / "share").mkdir()
    settings = routed(
        archive,
        destinations=[{"name": "share", "folder": tmp_path / "share"}],
        routes=[
            {"destinations": ["pacs0", "share"], "objects": ["original"], "forward": "before"},
            {"destinations": ["share"], "objects": ["report"]},
        ],
    )
    read, skipped, held = film(), film(1, ViewPosition="LL"), film(2, PatientID="")
    sent = {str(one.SOPInstanceUID): request(one) for one in (read, skipped, held)}
    with serving(settings) as gateway:
        assert send([read, skipped, held], gateway.port) == [0, 0, 0]
        archive.wait_for(lambda on_it: len(on_it) == 3, timeout=DEADLINE)
        eventually(lambda: len(list((tmp_path / "share").rglob("*.dcm"))) == 4, timeout=DEADLINE)
        eventually(lambda: {state for _, state in states(settings)} == {"delivered"}, timeout=DEADLINE)
    assert {one.sop_instance_uid: one.digest for one in archive.instances} == {
        uid: hashlib.sha256(one.data_set).hexdigest() for uid, one in sent.items()
    }
    for uid, one in sent.items():
        (path,) = (tmp_path / "share").rglob(f"{uid}.dcm")
        assert path.read_bytes().endswith(one.data_set)
    assert of_modality(archive.instances, read.StudyInstanceUID)["SR"] == 0
    made = [dcmread(p).Modality for p in (tmp_path / "share" / read.StudyInstanceUID).iterdir()]
    assert sorted(made) == ["DX", "SR"]
    assert [row["decision"] for row in table(settings, "instance")] == ["accept", "skip", "hold"]


def test_after_the_analysis_a_finding_can_be_asked_for(archive, routed, serving, tmp_path):
    (tmp_path / "share").mkdir()
    share = {"destinations": ["share"], "objects": ["original", "heatmap"]}
    settings = routed(
        archive,
        destinations=[{"name": "share", "folder": tmp_path / "share"}],
        routes=[
            share | {"finding": "COVID-19", "at_least": 0.0001, "station": ["xr1"]},
            share | {"finding": "COVID-19", "at_least": 1.0},
            {"destinations": ["pacs0"], "objects": ["original"], "body_part": ["HAND"]},
        ],
    )
    found, elsewhere, hand = (
        film(0, StationName="XR1"),
        film(1, StationName="XR2"),
        film(2, BodyPartExamined="HAND"),
    )
    with serving(settings) as gateway:
        assert send([found, elsewhere, hand], gateway.port) == [0, 0, 0]
        archive.wait_for(lambda on_it: len(on_it) == 1, timeout=DEADLINE)
        eventually(lambda: len(list((tmp_path / "share").rglob("*.dcm"))) == 2, timeout=DEADLINE)
    assert archive.instances[0].sop_instance_uid == hand.SOPInstanceUID
    assert states(settings) == [("pacs0", "delivered"), ("share", "delivered")]
    assert states(settings, "delivery") == [("share", "delivered")]
    assert (tmp_path / "share" / found.StudyInstanceUID / f"{found.SOPInstanceUID}.dcm").is_file()


def test_nothing_goes_back_to_who_sent_it_nor_round_in_a_circle(routed, serving, tmp_path):
    """Our test peer sends as MODALITY; the second archive has changed a byte and sends as somebody else."""
    with (
        Archive(tmp_path / "sender", ae_title="MODALITY") as sender,
        Archive(tmp_path / "next", ae_title="NEXT") as following,
    ):
        everywhere = {"destinations": ["pacs0", "pacs1"], "objects": ["original"], "forward": "before"}
        settings = routed(sender, following, routes=[everywhere])
        original = film(ViewPosition="LL")
        with serving(settings) as gateway:
            assert send([original], gateway.port) == [0]
            following.wait_for(lambda held: len(held) == 1, timeout=DEADLINE)
            original.InstitutionName = "Coerced"
            assert send([original], gateway.port, calling="ROUTER") == [0]
            eventually(lambda: len(table(settings, "unmade")) == 2, timeout=DEADLINE)
            eventually(lambda: sender.instances, timeout=DEADLINE)
    first, second = (row["reason"] for row in table(settings, "unmade"))
    assert f"{original.SOPInstanceUID} for pacs0: it came from there (MODALITY)" in first
    assert f"{original.SOPInstanceUID} for pacs1: it was sent there already, as" in second
    assert len(following.receptions) == 1


def test_a_peer_that_does_not_take_the_syntax_parks_the_original_with_that_reason(
    archive, routed, serving, monkeypatch
):
    monkeypatch.setattr("demo.archive._TRANSFER_SYNTAXES", ["1.2.840.10008.1.2"])
    archive.stop()
    archive.start()
    settings = routed(archive, routes=[{"destinations": ["pacs0"], "objects": ["original"]}])
    with serving(settings) as gateway:
        assert send([film(ViewPosition="LL")], gateway.port) == [0]
        eventually(lambda: states(settings) == [("pacs0", "parked")], timeout=DEADLINE)
    assert "in Explicit VR Little Endian" in table(settings, "forwarding")[0]["reason"]
