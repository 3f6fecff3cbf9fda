"""The optional objects on their way: each once, in the study of its source, and never in the report's way."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from peers import Orthanc, eventually, send
from pydicom import dcmread
from test_journey import DEADLINE, modalities, radiographs, table
from test_withheld_in_objects import AdultsOnly

from cxr_pacs import evidence
from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import check
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.looking import looking
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.settings import ObjectsSettings

ALL = ObjectsSettings(segmentation=True, presentation_state=True, key_objects=True, plain_report=True)
OF_ONE_IMAGE = {"OT": 1, "SEG": 1, "PR": 1, "SR": 2, "KO": 1}


@pytest.fixture
def with_all(make_settings):
    def make(*peers, **options):
        return make_settings(*peers, **options).model_copy(update={"objects": ALL})

    return make


def held(archive, modality):
    return [dcmread(i.path) for i in archive.instances if i.modality == modality]


def documents(archive, sop_class):
    return [d for d in held(archive, "SR") if d.SOPClassUID.name == sop_class]


def complaints(program, *paths):
    result = subprocess.run([program, *paths], check=False, capture_output=True, text=True, errors="replace")
    return [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("Error")]


def test_all_of_them_arrive_once_and_are_conformant(archive, with_all, serving, tmp_path):
    settings = with_all(archive)
    (radiograph,) = radiographs(1, photometric="MONOCHROME1")
    source = tmp_path / "source.dcm"
    radiograph.save_as(source)
    with serving(settings) as gateway:
        assert send([radiograph, radiograph], gateway.port) == [0x0000, 0x0000]
        archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
        assert send([radiograph], gateway.port) == [0x0000]
        eventually(lambda: {d["state"] for d in table(settings, "delivery")} == {"delivered"})
    assert modalities(archive, radiograph.StudyInstanceUID) == OF_ONE_IMAGE
    assert len(archive.receptions) == 6
    paths = [i.path for i in archive.instances]
    for path in paths:
        assert check(dcmread(path)) == ()
        assert complaints("dciodvfy", path) == []
    assert complaints("dcentvfy", source, *paths) == []
    made = [dcmread(path) for path in paths]
    assert len({d.SeriesInstanceUID for d in made}) == 6
    assert all(d.PatientID == radiograph.PatientID for d in made)
    (state,) = held(archive, "PR")
    assert state.PresentationLUTShape == "INVERSE"
    # whatever one of them refers to is there
    there = {radiograph.SOPInstanceUID, *(d.SOPInstanceUID for d in made)}
    assert {str(uid) for d in made for uid in referenced(d)} <= there


def test_orthanc_takes_all_of_them(with_all, serving, tmp_path):
    modalities_known = {"gateway": ("CXRPACS", 1)}
    with Orthanc(tmp_path / "orthanc", modalities=modalities_known) as orthanc:
        settings = with_all(orthanc)
        (radiograph,) = radiographs(1)
        with serving(settings) as gateway:
            send([radiograph], gateway.port)
            got = orthanc.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
            eventually(lambda: {d["state"] for d in table(settings, "delivery")} == {"delivered"})
        assert Counter(i.modality for i in got) == OF_ONE_IMAGE
        assert {i.study_instance_uid for i in got} == {radiograph.StudyInstanceUID}
        assert all(check(orthanc.read(i)) == () for i in got)


def referenced(dataset):
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield element.value
        elif element.VR == "SQ":
            for item in element.value:
                yield from referenced(item)


def test_none_of_them_is_made_unless_asked_for(archive, make_settings, serving):
    settings = make_settings(archive)
    assert settings.objects == ObjectsSettings()
    assert not any(settings.objects.model_dump().values())
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        eventually(lambda: [d["state"] for d in table(settings, "delivery")] == ["delivered"] * 2)
    assert [row["kind"] for row in table(settings, "result")] == ["SC", "SR"]


@pytest.mark.parametrize(
    ("wanted", "modality"),
    [("segmentation", "SEG"), ("presentation_state", "PR"), ("key_objects", "KO"), ("plain_report", "SR")],
)
def test_each_can_be_had_alone(archive, make_settings, serving, wanted, modality):
    settings = make_settings(archive).model_copy(update={"objects": ObjectsSettings(**{wanted: True})})
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda got: len(got) == 3, timeout=DEADLINE)
    assert modalities(archive) == Counter(["OT", "SR", modality])


def test_report_and_heatmap_are_the_same_with_and_without_them(tmp_path, make_settings):
    path = tmp_path / "film.dcm"
    radiographs(1)[0].save_as(path)
    plain = make_settings()
    readers = [Reader(s, BrightEngine()) for s in (plain, plain.model_copy(update={"objects": ALL}))]
    first, second = (reader.read(path, 5.0) for reader in readers)
    assert first.heatmap == second.heatmap
    assert (len(first.beside.objects), len(second.beside.objects)) == (0, 2)


def test_a_late_image_makes_successors(archive, with_all, serving):
    first, second = radiographs(2)
    second.StudyInstanceUID = first.StudyInstanceUID
    with serving(with_all(archive)) as gateway:
        send([first], gateway.port)
        archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
        send([second], gateway.port)
        archive.wait_for(lambda got: len(got) == 12, timeout=DEADLINE)
    assert len(archive.receptions) == 12
    for sop_class in ("Comprehensive 3D SR Storage", "Basic Text SR Storage"):
        old, new = sorted(documents(archive, sop_class), key=lambda d: d.InstanceNumber)
        (named,) = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert named.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert named.ReferencedSOPClassUID == old.SOPClassUID
        assert "PredecessorDocumentsSequence" not in old
    reports = {d.InstanceNumber: d for d in documents(archive, "Comprehensive 3D SR Storage")}
    selections = {d.InstanceNumber: d for d in held(archive, "KO")}
    assert set(selections) == {1, 2}
    for number, selection in selections.items():
        assert reports[number].SOPInstanceUID in set(referenced(selection))


def test_with_everything_withheld_only_the_words_say_why(archive, with_all):
    (child,) = radiographs(1, PatientAge="003Y")
    settings = with_all(archive)
    gateway = Gateway(settings, AdultsOnly())
    gateway.start()
    try:
        send([child], settings.dicom.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        eventually(lambda: [d["state"] for d in table(settings, "delivery")] == ["delivered"] * 2)
    finally:
        gateway.stop()
    assert modalities(archive) == {"SR": 2}
    (words,) = documents(archive, "Basic Text SR Storage")
    said = words.to_json()
    assert "Nothing was evaluated" in said
    assert "The model makes no claim on COVID-19 for a patient of 3 years" in said
    assert check(words) == ()


@pytest.mark.parametrize("kind", ["SG", "SR", "KO", "TX"])
def test_a_step_that_dies_half_way_is_done_again_and_sends_each_once(
    archive, with_all, serving, monkeypatch, kind
):
    settings = with_all(archive)
    add_result, failures = Ledger.add_result, []

    def failing(self, connection, made):
        result = add_result(self, connection, made)
        if made.kind == kind and not failures:
            failures.append(kind)
            raise sa.exc.OperationalError("a statement", None, OSError("the disk is gone"))
        return result

    monkeypatch.setattr(Ledger, "add_result", failing)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
        eventually(lambda: {d["state"] for d in table(settings, "delivery")} == {"delivered"})
    assert failures == [kind]
    assert modalities(archive) == OF_ONE_IMAGE
    assert len(archive.receptions) == 6
    assert Counter(row["kind"] for row in table(settings, "result")) == Counter(
        ["SC", "SG", "PS", "SR", "KO", "TX"]
    )


@pytest.mark.parametrize("name", ["segmentation", "plain_report"])
def test_one_that_cannot_be_made_keeps_nothing_else_back(archive, with_all, serving, monkeypatch, name):
    def unable(*_):
        raise EvidenceError("it cannot be said")

    monkeypatch.setattr(evidence, name, unable)
    settings, (film,) = with_all(archive), radiographs(1)
    with serving(settings) as gateway:
        send([film], gateway.port)
        archive.wait_for(lambda got: len(got) == 5, timeout=DEADLINE)
    (unmade,) = table(settings, "unmade")
    assert unmade["reason"] == f"{name.replace('_', ' ')}: it cannot be said"
    assert (unmade["instance_id"] is None) == (name == "plain_report")
    with looking(settings) as ledger, ledger.begin() as connection:
        told = [event.sentence for event in study_history(connection, film.StudyInstanceUID).events]
    assert f"Left out: {unmade['reason']}" in told


def test_their_own_objects_routed_back_are_no_radiographs(archive, with_all, serving):
    settings = with_all(archive)
    with serving(settings) as gateway:
        send(radiographs(1), gateway.port)
        archive.wait_for(lambda got: len(got) == 6, timeout=DEADLINE)
    reader = Reader(settings, BrightEngine())
    for instance in archive.instances:
        assert reader.read(instance.path, 0.0).decision.rung == "own-output"
