from __future__ import annotations

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from brightness_corpus import write_manifest

from training import cli


@pytest.fixture
def folder(corpus, tmp_path):
    return shutil.copytree(corpus, tmp_path / "corpus")


def spoil(folder, change):
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    change(rows)
    write_manifest(folder, rows)


def run(folder, *more):
    written = folder / "found.json"
    status = cli.main(["corpus", "--manifest", str(folder), "--json", str(written), *more])
    return status, json.loads(written.read_text(encoding="utf-8"))


def test_a_sound_corpus_is_counted(folder, capsys):
    status, found = run(folder)
    assert status == 0
    assert (found["errors"], found["remarks"]) == ([], [])
    assert sum(group["images"] for group in found["groups"]) == 72
    printed = capsys.readouterr().out
    assert "72 images of 36 patients, 0 errors, 0 remarks" in printed.replace("\n", " ")
    assert "6 (6)" in printed


def test_every_error_is_listed_with_its_line(folder, capsys):
    def change(rows):
        rows[0].update(label="viral")
        rows[9].update(split="holdout", patient_id="another")
        rows[12].update(age="200")

    spoil(folder, change)
    (folder / "20.png").unlink()
    shutil.copy(folder / "30.png", folder / "48.png")
    status, found = run(folder)
    assert status == 1
    problems = {error["line"]: error["text"] for error in found["errors"]}
    assert sorted(problems) == [2, 11, 14, 22, 50]
    assert "label 'viral' is none of" in problems[2]
    assert "split 'holdout' is none of" in problems[11]
    assert "age '200'" in problems[14]
    assert "20.png is missing" in problems[22]
    assert "same picture as line 32" in problems[50]
    assert "another patient" in problems[50]
    printed = capsys.readouterr().out
    assert all(f"line {line}: " in printed for line in problems)


def test_a_patient_in_two_splits_is_an_error_that_names_nobody(folder):
    spoil(folder, lambda rows: rows[3].update(split="test"))
    status, found = run(folder)
    assert status == 1
    (error,) = found["errors"]
    assert error["text"] == "patient is in split 'test' here and in 'train' on line 2"
    assert error["line"] == 5


def test_a_file_that_is_named_twice_is_an_error(folder):
    spoil(folder, lambda rows: rows[3].update(file=rows[0]["file"]))
    status, found = run(folder)
    assert status == 1
    assert found["errors"] == [{"line": 5, "text": "file 0.png is named on line 2 already"}]
    assert found["remarks"] == []


def test_what_a_person_should_look_at_is_no_error(folder):
    cv2.imwrite(str(folder / "71.png"), np.full((9, 9), 7, np.uint8))

    def change(rows):
        rows[0].update(age="7")
        rows[1].update(cohort="unknown")
        rows[3].update(patient_id=rows[0]["patient_id"], split=rows[0]["split"])

    spoil(folder, change)
    shutil.copy(folder / "0.png", folder / "3.png")
    status, found = run(folder)
    assert status == 0
    assert [(remark["line"], remark["text"][:30]) for remark in found["remarks"]] == [
        (2, "age 7 does not go with cohort "),
        (3, "cohort 'unknown' is none of ad"),
        (5, "shows the same picture as line"),
        (73, "image 71.png shows nothing: al"),
    ]


def test_other_labels_may_be_allowed(folder):
    spoil(folder, lambda rows: [row.update(label="pneumonia_unspecified") for row in rows])
    assert run(folder)[0] == 1
    assert run(folder, "--labels", "pneumonia_unspecified")[0] == 0


def test_no_manifest_is_one_line(tmp_path, capsys):
    assert cli.main(["corpus", "--manifest", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("cxr-train: ")


def test_a_row_with_more_cells_than_the_header_is_an_error(folder, capsys):
    manifest = folder / "manifest.csv"
    first, second, *others = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join([first, f"{second},surplus", *others]) + "\n", encoding="utf-8")
    assert cli.main(["corpus", "--manifest", str(folder)]) == 1
    assert "line 2: it has more cells than the header" in capsys.readouterr().out


def test_names_in_brackets_are_printed_as_they_are(folder, capsys):
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(",here,", ",[/clinic],"))
    assert cli.main(["corpus", "--manifest", str(folder)]) in (0, 1)
    assert "[/clinic]" in capsys.readouterr().out
