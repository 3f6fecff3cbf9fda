"""What the model does not claim for a patient is withheld in the objects, and a lone report still leaves."""

from __future__ import annotations

import pytest
from bright_engine import BrightEngine, claim
from peers import send
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest
from test_journey import DEADLINE, modalities, radiographs, table

from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.settings import Settings


class AdultsOnly(BrightEngine):
    claims = (claim("multiclass", "covid19", 18, 120), claim("multiclass", "normal", 18, 120, ("PA",)))


class Remarking(AdultsOnly):
    def analyse(self, picture):
        analysis = super().analyse(picture)
        return type(analysis)(
            findings=analysis.findings, saliency=analysis.saliency, quality=("No lung fields were found.",)
        )


@pytest.fixture
def read(tmp_path):
    def read(engine, **tags):
        path = tmp_path / "film.dcm"
        make_radiograph(picture=synthetic_chest(150, 130, 0), **tags).save_as(path)
        return Reader(Settings(), engine).read(path, 0.0)

    return read


def told(reading):
    return [f"{s.head}/{s.label}" for s in reading.findings.scores]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, ["multiclass/covid19", "multiclass/normal"]),
        ({"PatientAge": "018Y"}, ["multiclass/covid19", "multiclass/normal"]),
        ({"PatientAge": "017Y"}, []),
        ({"PatientAge": "200M"}, []),
        ({"PatientAge": None}, ["multiclass/covid19", "multiclass/normal"]),
        ({"PatientAge": None, "PatientBirthDate": "20220101"}, []),
        ({"PatientAge": None, "PatientBirthDate": None}, []),
        ({"ViewPosition": "AP"}, ["multiclass/covid19"]),
        ({"ViewPosition": ""}, ["multiclass/covid19"]),
    ],
)
def test_age_and_view_of_the_header_decide(read, tags, expected):
    reading = read(AdultsOnly(), **tags)
    assert reading.decision.outcome == "accept"
    assert told(reading) == expected
    assert len(reading.findings.withheld) == 5 - len(expected)
    assert (reading.heatmap is None) == (not expected)


def test_the_engines_remarks_stand_with_those_on_the_image(read):
    tags = {"PatientOrientation": ["R", "F"]}
    reading = read(Remarking(), **tags)
    assert reading.quality[-1] == "No lung fields were found."
    assert len(reading.quality) == 2


def test_a_child_gets_a_report_without_a_heatmap(archive, make_settings):
    (child,) = radiographs(1, PatientAge="003Y")
    settings = make_settings(archive)
    gateway = Gateway(settings, AdultsOnly())
    gateway.start()
    try:
        assert send([child], settings.dicom.port) == [0x0000]
        archive.wait_for(lambda held: len(held) == 1, timeout=DEADLINE)
    finally:
        gateway.stop()
    assert modalities(archive, child.StudyInstanceUID) == {"SR": 1}
    report = dcmread(archive.instances[0].path).to_json()
    assert "The model makes no claim on COVID-19 for a patient of 3 years" in report
    (row,) = table(settings, "instance")
    assert (row["decision"], bool(row["reported"])) == ("accept", True)
    assert "3 years" not in row["reason"]


def test_neither_age_nor_reason_is_logged(archive, make_settings, caplog):
    caplog.set_level("DEBUG", logger="cxr_pacs")
    (child,) = radiographs(1, PatientAge="003Y")
    settings = make_settings(archive)
    gateway = Gateway(settings, AdultsOnly())
    gateway.start()
    try:
        send([child], settings.dicom.port)
        archive.wait_for(lambda held: len(held) == 1, timeout=DEADLINE)
    finally:
        gateway.stop()
    said = " ".join(r.getMessage() for r in caplog.records if r.name.startswith("cxr_pacs"))
    assert said
    assert "3 years" not in said
    assert "003Y" not in said


def test_a_model_without_any_claim_is_told_of_at_the_start(archive, make_settings, caplog):
    class Unclaimed(BrightEngine):
        claims = ()

    caplog.set_level("WARNING", logger="cxr_pacs")
    for engine in (BrightEngine(), Unclaimed()):
        assert "claims no class" not in caplog.text
        gateway = Gateway(make_settings(archive), engine)
        gateway.start()
        gateway.stop()
    assert "the model claims no class for any patient" in caplog.text


def test_an_adult_and_a_child_of_one_study_share_a_report(archive, make_settings):
    """A mistake of the sender, but nothing may be lost by it."""
    adult, child = radiographs(2)
    child.StudyInstanceUID, child.PatientAge = adult.StudyInstanceUID, "003Y"
    settings = make_settings(archive, quiet_period=1.0)
    gateway = Gateway(settings, AdultsOnly())
    gateway.start()
    try:
        send([adult, child], settings.dicom.port)
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    finally:
        gateway.stop()
    assert modalities(archive) == {"SR": 1, "OT": 1}
