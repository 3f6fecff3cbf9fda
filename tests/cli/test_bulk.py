"""`cxr-pacs analyse` of many files: resumed, in tables, and pictures for research."""

from __future__ import annotations

import csv
import errno
import json
import sqlite3
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest
from bright_engine import BrightEngine
from PIL import Image
from pydicom import FileDataset, dcmread
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.cli import analyse, main
from cxr_pacs.gateway import folder as gateway_folder
from cxr_pacs.gateway import media
from cxr_pacs.gateway.bulk import objects
from cxr_pacs.gateway.bulk.journal import JOURNAL, Journal
from cxr_pacs.gateway.bulk.tables import ResultTable
from cxr_pacs.gateway.media import MediaFile
from cxr_pacs.gateway.zip_members import ZipMember
from cxr_pacs.inference import ModelIdentity
from cxr_pacs.radiograph import picture_p_values, read_radiograph


class CountingEngine(BrightEngine):
    def __init__(self):
        self.read = 0

    def analyse(self, picture):
        self.read += 1
        return super().analyse(picture)


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    engine = CountingEngine()
    monkeypatch.setattr(analyse, "open_engine", lambda *_: engine)
    return engine


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(3):
        chest(seed).save_as(folder / f"{seed}.dcm")
    return folder


def chest(seed, **tags):
    return make_radiograph(picture=synthetic_chest(140, 130, seed), **tags)


def run(capsys, *arguments):
    """Exit status, standard output, standard error; the output folder is ``out`` beside the first path."""
    out = arguments[0].parent / "out"
    status = main(["analyse", *map(str, arguments), "--out", str(out)])
    said = capsys.readouterr()
    return status, said.out, said.err


def rows(folder):
    with (folder.parent / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_done_is_not_done_again_but_what_changed_and_what_is_new_is(folder, engine, capsys):
    assert run(capsys, folder)[0] == 0
    chest(7).save_as(folder / "1.dcm")
    chest(8).save_as(folder / "new.dcm")
    (folder / "0.dcm").rename(folder / "0.dcm.part")
    engine.read = 0
    status, _, said = run(capsys, folder)
    assert (status, engine.read) == (0, 2)
    assert "1 of 3 were done before." in said
    assert "1 left out: hidden or temporary name." in said
    assert [row["file"].rpartition("/")[2] for row in rows(folder)] == ["1.dcm", "2.dcm", "new.dcm"]
    assert rows(folder)[0]["sop_instance_uid"] == chest(7).SOPInstanceUID


def test_what_was_done_with_another_model_or_other_settings_is_done_again_and_said_so(
    folder, engine, capsys, tmp_path
):
    run(capsys, folder)
    config = tmp_path / "site.toml"
    config.write_text('[evidence]\nlanguage = "es"\n')
    said = run(capsys, folder, "--config", config)[2]
    assert "3 of 3 were done with another model or other settings: they are read again." in said
    engine.identity = ModelIdentity(**{**vars_of(engine.identity), "digest": "c" * 64})
    said = run(capsys, folder, "--config", config)[2]
    assert "3 of 3 were done with another model" in said
    assert engine.read == 9
    assert "3 of 3 were done before." in run(capsys, folder, "--config", config)[2]


def vars_of(identity):
    return {name: getattr(identity, name) for name in identity.__dataclass_fields__}


def test_what_failed_is_tried_again(folder, engine, capsys, monkeypatch):
    failing = engine.analyse
    monkeypatch.setattr(engine, "analyse", lambda _: 1 / 0)
    status, printed, _ = run(capsys, folder)
    assert status == 1
    assert printed.count("Failed: ZeroDivisionError") == 6  # as reason, and in red
    monkeypatch.setattr(engine, "analyse", failing)
    assert run(capsys, folder)[0] == 0
    assert len(rows(folder)) == 3


def test_a_report_is_made_anew_where_a_study_has_grown_and_else_not(folder, capsys):
    run(capsys, folder)
    reports = set((folder.parent / "out").glob("SR-*"))
    again = chest(9)
    again.StudyInstanceUID = chest(0).StudyInstanceUID
    again.save_as(folder / "9.dcm")
    run(capsys, folder)
    (new,) = set((folder.parent / "out").glob("SR-*")) - reports
    assert [row["objects"].split(";")[-1] for row in rows(folder)].count(new.name) == 2


def test_of_what_is_in_an_archive_the_same_is_made(folder, capsys):
    run(capsys, folder)
    plain = rows(folder)
    with zipfile.ZipFile(folder.parent / "disk.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    run(capsys, folder.parent / "disk.zip")
    packed = rows(folder)
    for row in (*plain, *packed):
        assert row.pop("file").endswith(".dcm")
    assert plain == packed


def test_results_within_the_folder_that_is_read_are_left_out(folder, engine, capsys):
    command = ["analyse", str(folder), "--out", str(folder / "out")]
    for _ in range(2):
        assert main(command) == 0
    assert engine.read == 3
    assert "1 left out: the folder of results." in capsys.readouterr().err


def test_parquet_and_csv_hold_a_row_for_each_file_and_identity_by_option_only(folder, capsys, tmp_path):
    (folder / "x.txt").write_text("no DICOM")
    (folder / "y.dcm").symlink_to("gone")
    parquet = tmp_path / "table.parquet"
    assert run(capsys, folder, "--parquet", parquet)[0] == 1
    table = pyarrow.parquet.read_table(parquet).to_pylist()
    told = rows(folder)
    assert list(table[0]) == list(told[0])
    assert [row["decision"] for row in table] == ["accept", "accept", "accept", "skip", "hold"]
    assert table[4]["error"] == "Cannot be read: No such file or directory."
    assert table[3]["multiclass.covid19"] is None
    assert table[3]["research"] is False
    for typed, row in zip(table, told, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in typed.items()}
    assert sum(table[0][f"multiclass.{c}"] for c in ("covid19", "bacterial_pneumonia", "normal")) == (
        pytest.approx(1, abs=1e-5)
    )
    header = dcmread(folder / "0.dcm")
    private = {str(header.PatientID), str(header.AccessionNumber), str(header.PatientName)}
    assert not any(value in private for row in told for value in row.values())
    journal = (folder.parent / "out" / JOURNAL).read_bytes()
    assert not any(value.encode() in journal for value in private)

    run(capsys, folder, "--parquet", parquet, "--identity")
    first, *_, last = pyarrow.parquet.read_table(parquet).to_pylist()
    assert (first["patient_id"], first["accession_number"], first["study_date"]) == (
        header.PatientID,
        header.AccessionNumber,
        header.StudyDate,
    )
    assert last["patient_id"] == ""


def test_pictures_are_read_on_request_alone_and_no_dicom_is_made_of_them(folder, engine, capsys):
    shown = np.rint(synthetic_chest(150, 140, 3) * 65535).astype(np.uint16)
    cv2.imwrite(str(folder / "deep.png"), shown)
    Image.fromarray((shown >> 8).astype(np.uint8)).save(folder / "photo.JPG", quality=95)
    cv2.imwrite(str(folder / "icon.png"), shown[:64, :64])
    (folder / "cut.png").write_bytes((folder / "deep.png").read_bytes()[:500])
    assert run(capsys, folder)[0] == 3
    assert engine.read == 3
    status, printed, _ = run(capsys, folder, "--pictures", "--json")
    documents = {d["path"].rpartition("/")[2]: d for d in json.loads(printed)["instances"]}
    assert status == 3
    assert {name: d["decision"] for name, d in documents.items() if not name.endswith(".dcm")} == {
        "cut.png": "hold",
        "deep.png": "accept",
        "icon.png": "hold",
        "photo.JPG": "accept",
    }
    assert "64 x 64 pixels; at least 128" in documents["icon.png"]["reason"]
    for name in ("deep.png", "photo.JPG"):
        document = documents[name]
        assert set(document["scores"]) == {"binary", "multiclass"}
        assert document["quality"][0].startswith("Not DICOM: for research only.")
        png, said = document["objects"]
        assert (png.rpartition(".")[2], said.rpartition(".")[2]) == ("png", "json")
        with Image.open(png) as picture:
            assert picture.text["Comment"] == "Not DICOM: for research only. AI-derived, not a diagnosis"
        with open(said, encoding="utf-8") as file:  # noqa: PTH123
            assert json.load(file)["remark"].startswith("Not DICOM: for research only.")
    assert len(list((folder.parent / "out").glob("SR-*"))) == 3
    assert [row["research"] for row in rows(folder)].count("True") == 4


def test_a_picture_joins_at_the_p_values(tmp_path):
    picture = synthetic_chest(150, 140, 3)
    stored = np.rint(picture * 65535).astype(np.uint16)
    _, encoded = cv2.imencode(".png", stored)
    shown = read_radiograph(make_radiograph(picture=stored / np.float32(65535), bits=16)).pixels
    assert np.abs(picture_p_values(encoded.tobytes()) - shown).max() < 1e-4


def test_two_cannot_work_in_one_folder(folder, capsys):
    run(capsys, folder)
    with sqlite3.connect(folder.parent / "out" / JOURNAL) as other:
        other.execute("BEGIN EXCLUSIVE")
        status, _, said = run(capsys, folder)
        assert status == 2
        assert f"{JOURNAL}: the journal cannot be opened: another process is working in this folder" in said
    other.close()


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_error_of_each_file_and_the_next_run_goes_on(folder, capsys, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(FileDataset, "save_as", no_space)
        status, printed, _ = run(capsys, folder)
        assert (status, printed.count("The results cannot be written: No space left on device.")) == (1, 6)
    assert not list((folder.parent / "out").glob(".*"))
    assert run(capsys, folder)[0] == 0
    assert len(rows(folder)) == 3


@pytest.mark.parametrize(
    ("owner", "name"),
    [(objects, "sync"), (Path, "replace"), (Journal, "record"), (ResultTable, "write_csv")],
    ids=["name", "rename", "journal", "table"],
)
def test_a_disk_full_for_names_journal_or_table_ends_the_run_and_the_next_goes_on(
    folder, engine, capsys, monkeypatch, owner, name
):
    with monkeypatch.context() as context:
        context.setattr(owner, name, no_space)
        status, _, said = run(capsys, folder)
    assert status == 1
    assert "does not take the results: [Errno 28] No space left on device" in said or name == "replace"
    assert not (folder.parent / "out" / "results.csv").exists()
    assert run(capsys, folder)[0] == 0
    assert [row["decision"] for row in rows(folder)] == ["accept"] * 3
    out = folder.parent / "out"
    assert (len(list(out.glob("OT-*"))), len(list(out.glob("SR-*")))) == (3, 3)
    assert not list(out.glob(".*"))
    assert engine.read <= 6


def test_of_many_files_a_summary_is_printed_and_each_error(folder, capsys):
    for number in range(60):
        (folder / f"note {number:02}.txt").write_text("no DICOM")
    (folder / "[gone].dcm").symlink_to("nowhere")
    status, printed, _ = run(capsys, folder)
    said = " ".join(printed.split())
    assert status == 1
    assert "│ 60 │ skip │ file │ The file is not a readable DICOM file" in said
    assert "note 00.txt" in said
    assert "note 01.txt" not in said
    assert "[gone].dcm │ Cannot be read: No such file or directory." in said
    assert said.endswith("results.csv, beside the objects, has a line for each file.")


def score_of(row):
    return float(row["multiclass.covid19"])


OTHER = "This SOP Instance UID came before with other bytes: other content or encoding."


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.dcm")}


def corrected(seed, path):
    """Other pixels under the UID of `seed`."""
    dataset = chest(seed)
    dataset.PixelData = bytes(reversed(dataset.PixelData))
    dataset.save_as(path)


def test_other_content_under_an_accepted_uid_is_held_and_nothing_that_was_made_is_contradicted(
    folder, capsys
):
    run(capsys, folder)
    before, made = rows(folder), bytes_of(folder.parent / "out")
    corrected(0, folder / "0.dcm")
    assert run(capsys, folder)[0] == 3
    held, *others = rows(folder)
    assert (held["decision"], held["rung"], held["reason"]) == ("hold", "sop-instance-uid", OTHER)
    assert (held["multiclass.covid19"], held["objects"]) == ("", "")
    assert others == before[1:]
    assert bytes_of(folder.parent / "out") == made
    chest(0).save_as(folder / "0.dcm")
    assert run(capsys, folder)[0] == 0
    assert rows(folder) == before
    assert bytes_of(folder.parent / "out") == made


def test_of_two_contents_of_one_uid_in_one_run_one_is_accepted_and_what_is_made_is_made_of_it(
    folder, engine, capsys
):
    corrected(0, folder / "0 again.dcm")
    assert run(capsys, folder)[0] == 3
    told = {row["file"].rpartition("/")[2]: row for row in rows(folder)}
    one, other = told["0.dcm"], told["0 again.dcm"]
    assert {one["decision"], other["decision"]} == {"accept", "hold"}
    accepted, held = (one, other) if one["decision"] == "accept" else (other, one)
    assert (held["reason"], held["objects"]) == (OTHER, "")
    out = folder.parent / "out"
    assert (len(list(out.glob("OT-*"))), len(list(out.glob("SR-*")))) == (3, 3)
    assert not list(out.glob(".*.part"))
    # Read alone, it gets the same picture.
    alone = folder.parent / "alone" / "in"
    alone.mkdir(parents=True)
    (alone / "0.dcm").write_bytes((folder / accepted["file"].rpartition("/")[2]).read_bytes())
    assert run(capsys, alone)[0] == 0
    (again,) = rows(alone)
    assert score_of(again) == score_of(accepted)
    picture = accepted["objects"].split(";")[0]
    pixels = [dcmread(path / picture).PixelData for path in (out, alone.parent / "out")]
    assert pixels[0] == pixels[1]


def test_a_copy_is_a_row_and_doubles_nothing_that_is_made(folder, capsys):
    run(capsys, folder)
    made = bytes_of(folder.parent / "out")
    (folder / "copy.dcm").write_bytes((folder / "0.dcm").read_bytes())
    (folder / "1.dcm").rename(folder / "renamed.dcm")
    assert run(capsys, folder)[0] == 0
    told = {row["file"].rpartition("/")[2]: row for row in rows(folder)}
    assert list(told) == ["0.dcm", "2.dcm", "copy.dcm", "renamed.dcm"]
    assert told["copy.dcm"] | {"file": ""} == told["0.dcm"] | {"file": ""}
    assert bytes_of(folder.parent / "out") == made


def test_members_of_one_name_are_each_read(folder, capsys):
    path = folder.parent / "disk.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "0.dcm", "IM1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.write(folder / "1.dcm", "IM1")
    for _ in range(2):
        assert run(capsys, path)[0] == 0
        told = rows(path)
        assert [row["sop_instance_uid"] for row in told] == [chest(seed).SOPInstanceUID for seed in (0, 1)]
        assert {row["file"] for row in told} == {f"{path}:IM1"}


@pytest.mark.parametrize("where", [MediaFile, ZipMember], ids=["file", "member"])
def test_whatever_a_file_raises_is_its_own_error(folder, capsys, monkeypatch, where):
    path = folder.parent / "disk.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "0.dcm", "IM1")
    method = "content" if where is MediaFile else "read"
    genuine = getattr(where, method)

    def hostile(self, *arguments):
        if "IM1" in self.name:
            raise OverflowError("a value of the file")
        return genuine(self, *arguments)

    monkeypatch.setattr(where, method, hostile)
    status, printed, _ = run(capsys, folder, path)
    assert status == 1
    assert "a value of the file" not in printed
    assert [row["error"][:28] for row in rows(folder)] == ["", "", "", "Cannot be read: OverflowErro"]


@pytest.mark.parametrize("offset", [-1, 1 << 63, (1 << 64) - 1])
def test_an_archive_whose_member_is_nowhere_does_not_keep_the_others_back(
    folder, capsys, monkeypatch, offset
):
    path = folder.parent / "disk.zip"
    path.write_bytes(b"PK")
    member = ZipMember(name="IM1", offset=offset, packed=9, size=9, crc=0, method=0, encrypted=False)
    monkeypatch.setattr(media, "list_members", lambda _: [member])
    assert run(capsys, path, folder)[0] == 1
    assert [bool(row["error"]) for row in rows(folder)] == [True, False, False, False]


def test_a_medium_that_raises_anything_does_not_keep_the_others_back(folder, capsys, monkeypatch):
    (folder / "0.zip").write_bytes(b"PK")
    monkeypatch.setattr(media, "list_members", lambda _: "".index("a"))
    assert run(capsys, folder)[0] == 1
    assert [row["error"][:26] for row in rows(folder)] == ["", "Cannot be read: ValueError", "", ""]


def test_a_journal_of_another_version_is_left_alone(folder, capsys):
    run(capsys, folder)
    path = folder.parent / "out" / JOURNAL
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 1")
    other.close()
    status, _, said = run(capsys, folder)
    assert status == 2
    assert "the journal is of another version of cxr-pacs: name a new folder" in said


def test_a_folder_for_each_study_as_watch_makes_it(folder, capsys, monkeypatch):
    (folder / "copy.dcm").write_bytes((folder / "0.dcm").read_bytes())
    lateral = chest(5, ViewPosition="LL", StudyInstanceUID=chest(0).StudyInstanceUID)
    lateral.pop("ViewCodeSequence", None)
    lateral.save_as(folder / "lateral.dcm")
    out = folder.parent / "out"
    with monkeypatch.context() as context:
        context.setattr(gateway_folder, "png", no_space)
        status, _, said = run(capsys, folder, "--studies")
        assert (status, "does not take the results" in said) == (1, True)
    assert run(capsys, folder, "--studies")[0] == 3
    told = rows(folder)
    for study in {row["study_instance_uid"] for row in told}:
        of_it = [row for row in told if row["study_instance_uid"] == study]
        made = {name for row in of_it for name in row["objects"].split(";") if name}
        heatmap, report = (
            next(name for name in made if name.startswith(kind)).removeprefix(kind).removesuffix(".dcm")
            for kind in ("OT-", "SR-")
        )
        assert {path.name for path in (out / study).iterdir()} == {
            *(f"{heatmap}.dcm", f"{heatmap}.png", f"{report}.dcm", "study.json")
        }
        for name in made:
            assert (out / study / name.partition("-")[2]).read_bytes() == (out / name).read_bytes()
        document = json.loads((out / study / "study.json").read_text())
        assert (document["notice"], document["problem"]) == ("AI-derived, not a diagnosis", None)
        assert document["study_instance_uid"] == study
        assert document["objects"] == [
            {"object": "heatmap", "file": f"{heatmap}.dcm"},
            {"object": "report", "file": f"{report}.dcm"},
        ]
        uids = [one["sop_instance_uid"] for one in document["instances"]]
        assert sorted(uids) == sorted({row["sop_instance_uid"] for row in of_it})
        assert [one["reported"] for one in document["instances"]] == [
            one["decision"] == "accept" for one in document["instances"]
        ]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    assert run(capsys, folder, "--studies")[0] == 3
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == before
