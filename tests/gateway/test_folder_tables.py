"""A folder that also gets pictures and tables: what is in them, of whom, and when they are written again."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import os
import shutil

import pytest
from bright_engine import BrightEngine
from peers import Archive, eventually
from PIL import Image
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.cli import main
from cxr_pacs.gateway import folder_tables
from cxr_pacs.gateway.folder_tables import FolderTables
from cxr_pacs.gateway.service import Gateway, Role
from cxr_pacs.settings import Settings

PICTURE = synthetic_chest(256, 224, 7)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("cxr_pacs.gateway.folder_tables._SHORTEST", 0.1)
    monkeypatch.setattr("cxr_pacs.gateway.folder_tables._LONGEST", 0.2)
    monkeypatch.setattr("cxr_pacs.gateway.folder_tables._SHARE", 0.0)


@pytest.fixture
def site(tmp_path):
    return _Site(tmp_path)


class _Site:
    def __init__(self, folder):
        self.scans, self.film, self.out = (folder / name for name in ("scans", "film", "out"))
        for made in (self.scans, self.film, self.out):
            made.mkdir()
        self._spool = folder / "spool"
        self.database_url = ""

    def settings(self, *, route=(), more=(), **out):
        return Settings.model_validate(
            {
                "spool": {"path": self._spool},
                "database": {"url": self.database_url},
                "study": {"quiet_period": 0.0},
                "heatmap": {"size": "source"},
                "delivery": {"first_retry": 0.1, "longest_retry": 0.2},
                "destination": [
                    {"name": "out", "folder": self.out, "pictures": True, "tables": True} | out,
                    *more,
                ],
                "route": list(route),
                "watch": [
                    {"name": one.name, "folder": one, "notice": "polling", "rescan": 0.2, "stable": 0.0}
                    for one in (self.scans, self.film)
                ],
            }
        )

    def run(self, settings, done):
        gateway = Gateway(settings, BrightEngine(), Role.WATCHER)
        gateway.start()
        try:
            eventually(done)
        finally:
            gateway.stop()

    @property
    def lines(self):
        path = self.out / "instances.csv"
        return list(csv.DictReader(io.StringIO(path.read_text()))) if path.is_file() else []


def drop(folder, name, **tags):
    dataset = make_radiograph(picture=PICTURE, **tags)
    dataset.save_as(folder / name)
    return dataset


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def reported(site, many, objects=2):
    """Whether so many images are reported, and the documents name so many objects of each."""

    def ask():
        documents = [json.loads(path.read_text()) for path in site.out.glob("*/study.json")]
        named = sum(len(document["objects"]) for document in documents)
        told = [line["reported"] for line in site.lines].count("True")
        return told == many and named == many * objects

    return ask


def test_a_study_has_its_objects_a_png_of_each_heatmap_and_a_document(site, on_both_databases):
    site.database_url = on_both_databases
    film = drop(site.scans, "film")
    side = drop(site.scans, "side", ViewPosition="LL", PatientID="OTHER")
    site.run(site.settings(), reported(site, 1))
    study = site.out / film.StudyInstanceUID
    document = json.loads((study / "study.json").read_text())
    heatmap, report = (one["file"] for one in document["objects"])
    assert names(site.out) == sorted(
        [
            "instances.csv",
            f"{side.StudyInstanceUID}/study.json",
            *(f"{film.StudyInstanceUID}/{name}" for name in ("study.json", report, heatmap)),
            f"{film.StudyInstanceUID}/{heatmap.removesuffix('dcm')}png",
        ]
    )
    shown = dcmread(study / heatmap)
    with Image.open((study / heatmap).with_suffix(".png")) as picture:
        assert picture.size == (shown.Columns, shown.Rows)
        assert picture.tobytes() == shown.PixelData[: len(picture.tobytes())]
    assert [one["object"] for one in document["objects"]] == ["heatmap", "report"]
    (image,) = document["instances"]
    assert image["sop_instance_uid"] == film.SOPInstanceUID
    assert (image["source"], image["decision"], image["reported"]) == ("folder:scans", "accept", True)
    passed_over = json.loads((site.out / side.StudyInstanceUID / "study.json").read_text())
    assert passed_over["objects"] == []
    assert [one["decision"] for one in passed_over["instances"]] == ["skip"]

    lines = {line["sop_instance_uid"]: line for line in site.lines}
    assert lines.keys() == {film.SOPInstanceUID, side.SOPInstanceUID}
    assert float(lines[film.SOPInstanceUID]["binary.covid19"]) == image["scores"]["binary"]["covid19"]
    assert lines[side.SOPInstanceUID]["binary.covid19"] == ""
    assert lines[side.SOPInstanceUID]["reason"] == passed_over["instances"][0]["reason"]
    everything = "".join(path.read_text() for path in site.out.rglob("*.json"))
    assert "P-0001" not in everything + (site.out / "instances.csv").read_text()


def test_names_tell_who_it_is_only_where_that_is_wanted(site):
    film = drop(site.scans, "film", PatientID="../P 1/ü")
    site.run(site.settings(identity_in_names=True), reported(site, 1))
    (folder,) = (path for path in site.out.iterdir() if path.is_dir())
    assert folder.name == f"..-P-1-ü_20260102_{film.StudyInstanceUID}"
    assert len(names(folder)) == 4


def test_the_tables_tell_of_the_sources_that_are_routed_there(site):
    drop(site.scans, "one", PatientID="ONE")
    film = drop(site.film, "two", PatientID="TWO")
    route = {"destinations": ["out"], "source": ["folder:film"], "objects": ["report"]}
    site.run(site.settings(route=[route]), reported(site, 1, objects=1))
    assert [line["study_instance_uid"] for line in site.lines] == [film.StudyInstanceUID]
    assert [path.name for path in site.out.iterdir() if path.is_dir()] == [film.StudyInstanceUID]
    assert [path.suffix for path in (site.out / film.StudyInstanceUID).iterdir()].count(".dcm") == 1


def test_the_results_of_a_watched_folder_go_to_an_archive_by_rule(site, tmp_path):
    drop(site.scans, "one", PatientID="ONE")
    film = drop(site.film, "two", PatientID="TWO")
    with Archive(tmp_path / "archive") as archive:
        pacs = {"name": "pacs", "ae_title": archive.ae_title, "host": archive.host, "port": archive.port}
        routes = [
            {"destinations": ["out"]},
            {"destinations": ["pacs"], "source": ["folder:film"], "objects": ["report", "original"]},
        ]
        settings = site.settings(route=routes, more=[pacs])
        site.run(settings, lambda: reported(site, 2)() and len(archive.instances) == 2)
        came = {one.sop_instance_uid for one in archive.instances}
        assert {one.study_instance_uid for one in archive.instances} == {film.StudyInstanceUID}
    assert film.SOPInstanceUID in came


def test_what_is_lost_is_written_at_the_next_start_and_what_is_there_is_left_alone(site):
    one = drop(site.scans, "one", PatientID="ONE")
    two = drop(site.scans, "two", PatientID="TWO")
    site.run(site.settings(), reported(site, 2))
    document = site.out / one.StudyInstanceUID / "study.json"
    before = document.stat().st_mtime_ns
    kept = (site.out / two.StudyInstanceUID / "study.json").read_bytes()
    (site.out / two.StudyInstanceUID / "study.json").unlink()
    (site.out / "instances.csv").unlink()
    site.run(site.settings(), reported(site, 2))
    assert (site.out / two.StudyInstanceUID / "study.json").read_bytes() == kept
    assert document.stat().st_mtime_ns == before


def test_a_folder_that_is_away_gets_everything_once_it_is_back(site, caplog):
    film = drop(site.scans, "film")
    shutil.rmtree(site.out)

    def asked_in_vain():
        return "the tables of out are not written: there is no folder" in caplog.text and (
            "to out, attempt 1: waiting" in caplog.text
        )

    def comes_back():
        if asked_in_vain() and not site.out.exists():
            site.out.mkdir()
        return site.out.exists() and reported(site, 1)()

    with caplog.at_level(logging.INFO, "cxr_pacs"):
        site.run(site.settings(), comes_back)
        site.run(site.settings(), lambda: len(names(site.out / film.StudyInstanceUID)) == 4)
    assert caplog.text.count("are not written") == 1


def test_lines_that_a_full_disk_did_not_take_are_written_once_there_is_space(site, monkeypatch, caplog):
    write, tried = folder_tables._replacing, []

    def full_at_first(target):
        tried.append(target)
        if len(tried) <= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(target)

    monkeypatch.setattr(folder_tables, "_replacing", full_at_first)
    # Nothing more happens to it, so that no other change has the lines written.
    film = drop(site.scans, "side", ViewPosition="LL")
    site.run(site.settings(), lambda: len(site.lines) == 1 and site.lines[0]["decision"] == "skip")
    assert [line["study_instance_uid"] for line in site.lines] == [film.StudyInstanceUID]
    assert "the tables of out are not written: No space left on device" in caplog.text


def test_a_look_at_thousands_of_images_writes_what_is_new_alone(site, monkeypatch):
    written = []
    keep = FolderTables._write_document

    def counted(self, connection, study_id):
        written.append(study_id)
        keep(self, connection, study_id)

    monkeypatch.setattr(FolderTables, "_write_document", counted)
    for number in range(3):
        drop(site.scans, str(number), PatientID=str(number))

    look, looks = FolderTables.once, []

    def looked(self):
        looks.append(look(self))
        return looks[-1]

    monkeypatch.setattr(FolderTables, "once", looked)

    def one_more():
        if reported(site, 3)() and looks[-2:] == [False, False] and not (site.scans / "more").exists():
            written.clear()
            drop(site.scans, "more", PatientID="more")
        return reported(site, 4)()

    site.run(site.settings(), one_more)
    assert set(written) == {4}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["{scans}/nothing", "--out", "{out}"], 1, "nothing: no such folder"),
        (["{scans}", "--out", "{scans}/out"], 2, "destination out"),
        (["{scans}", "--out", "{out}", "--name", "a b"], 2, "--name: String should match"),
        (["{scans}", "--out", "{film}/file/out"], 1, "--out: cannot make"),
    ],
    ids=["no-folder", "within", "name", "out"],
)
def test_what_cannot_be_watched_is_said(site, monkeypatch, capsys, tmp_path, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    (site.film / "file").touch()
    where = {"scans": site.scans, "out": site.out, "film": site.film}
    assert main(["watch", *(argument.format(**where) for argument in arguments)]) == status
    assert said in capsys.readouterr().err
