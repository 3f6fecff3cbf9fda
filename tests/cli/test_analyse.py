"""`cxr-pacs analyse` and the exit statuses, with a fast engine."""

from __future__ import annotations

import json

import pytest
from bright_engine import BrightEngine, claim
from peers import dcmtk
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.cli import analyse, main


@pytest.fixture(autouse=True)
def fast_engine(monkeypatch):
    monkeypatch.setattr(analyse, "open_engine", lambda *_: BrightEngine())


@pytest.fixture
def frontal(tmp_path):
    path = tmp_path / "in" / "frontal.dcm"
    path.parent.mkdir()
    make_radiograph(picture=synthetic_chest(150, 130, 0)).save_as(path)
    return path


def documents(capsys):
    return json.loads(capsys.readouterr().out)["instances"]


def test_json_holds_decision_scores_and_objects(frontal, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["analyse", str(frontal), "--out", str(out), "--json"]) == 0
    (document,) = documents(capsys)
    assert set(document) == {
        "path",
        "sop_instance_uid",
        "decision",
        "rung",
        "reason",
        "scores",
        "withheld",
        "quality",
        "objects",
    }
    assert (document["withheld"], document["quality"]) == ({}, [])
    assert document["path"] == str(frontal)
    assert document["sop_instance_uid"] == dcmread(frontal).SOPInstanceUID
    assert document["decision"] == "accept"
    assert set(document["scores"]) == {"binary", "multiclass"}
    for shares in document["scores"].values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    made = [dcmread(path) for path in document["objects"]]
    assert [m.Modality for m in made] == ["OT", "SR"]
    assert {str(m.StudyInstanceUID) for m in made} == {dcmread(frontal).StudyInstanceUID}
    assert sorted(map(str, out.glob("*.dcm"))) == sorted(document["objects"])
    assert dcmtk("dsrdump", document["objects"][1]).returncode == 0


def test_a_study_of_two_images_has_one_report(frontal, tmp_path, capsys):
    second = make_radiograph(picture=synthetic_chest(150, 130, 1))
    second.StudyInstanceUID = dcmread(frontal).StudyInstanceUID
    second.save_as(frontal.with_name("second.dcm"))
    assert main(["analyse", str(frontal.parent), "--out", str(tmp_path / "out"), "--json"]) == 0
    first, second = documents(capsys)
    assert first["objects"][1] == second["objects"][1]
    assert first["objects"][0] != second["objects"][0]


def test_the_optional_objects_of_the_settings_are_made(frontal, tmp_path, capsys):
    config = tmp_path / "site.toml"
    wanted = ("segmentation", "presentation_state", "key_objects", "plain_report")
    config.write_text("[objects]\n" + "".join(f"{name} = true\n" for name in wanted))
    second = make_radiograph(picture=synthetic_chest(150, 130, 1))
    second.StudyInstanceUID = dcmread(frontal).StudyInstanceUID
    second.save_as(frontal.with_name("second.dcm"))
    out = tmp_path / "out"
    command = ["analyse", str(frontal.parent), "--out", str(out), "--config", str(config), "--json"]
    assert main(command) == 0
    first, second = documents(capsys)
    for document in (first, second):
        made = [dcmread(path) for path in document["objects"]]
        assert [m.Modality for m in made] == ["OT", "SEG", "PR", "SR", "KO", "SR"]
    assert first["objects"][3:] == second["objects"][3:]
    assert len(list(out.glob("*.dcm"))) == 9
    before = {path: path.read_bytes() for path in out.glob("*.dcm")}
    assert main(command) == 0
    assert {path: path.read_bytes() for path in out.glob("*.dcm")} == before


def test_two_copies_of_one_image_are_reported_once(frontal, tmp_path, capsys):
    frontal.with_name("copy.dcm").write_bytes(frontal.read_bytes())
    assert main(["analyse", str(frontal.parent), "--out", str(tmp_path / "out"), "--json"]) == 0
    first, second = documents(capsys)
    assert first["objects"] == second["objects"]
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2
    tree = dcmtk("dsrdump", first["objects"][1]).stdout
    assert tree.count('"multiclass/normal"') == 1


def test_again_into_the_same_folder_changes_no_byte(frontal, tmp_path):
    out = tmp_path / "out"
    main(["analyse", str(frontal), "--out", str(out)])
    before = {path: path.read_bytes() for path in out.glob("*.dcm")}
    main(["analyse", str(frontal), "--out", str(out)])
    assert {path: path.read_bytes() for path in out.glob("*.dcm")} == before


def test_what_is_not_read_says_why_and_exits_with_3(frontal, tmp_path, capsys):
    (frontal.parent / "[notes].txt").write_text("no DICOM")
    (frontal.parent / "cut.dcm").write_bytes(frontal.read_bytes()[:-1000])
    make_radiograph(ViewPosition="LL").save_as(frontal.parent / "lateral.dcm")
    assert main(["analyse", str(frontal.parent), "--out", str(tmp_path / "out")]) == 3
    printed = capsys.readouterr().out
    assert "AI-derived, not a diagnosis" in printed
    assert "[notes].txt" in printed
    main(["analyse", str(frontal.parent), "--out", str(tmp_path / "out"), "--json"])
    by_name = {d["path"].rpartition("/")[2]: d for d in documents(capsys)}
    assert by_name["[notes].txt"]["decision"] == "skip"
    assert by_name["cut.dcm"]["decision"] == "hold"
    assert by_name["lateral.dcm"]["decision"] == "skip"
    assert all(d["reason"] and (d["objects"] == []) == (d["decision"] != "accept") for d in by_name.values())


def test_what_is_withheld_has_its_reason_in_json_and_table(frontal, tmp_path, capsys, monkeypatch):
    class Unclaimed(BrightEngine):
        claims = (claim("multiclass", "normal", 1, 5),)

    monkeypatch.setattr(analyse, "open_engine", lambda *_: Unclaimed())
    out = tmp_path / "out"
    assert main(["analyse", str(frontal), "--out", str(out), "--json"]) == 0
    (document,) = documents(capsys)
    assert document["scores"] == {}
    assert document["withheld"]["multiclass"]["normal"] == (
        "The model makes no claim on normal for a patient of 56 years; it claims it for 1 to 5 years."
    )
    assert {head: len(labels) for head, labels in document["withheld"].items()} == {
        "binary": 2,
        "multiclass": 3,
    }
    assert [dcmread(path).Modality for path in document["objects"]] == ["SR"]
    main(["analyse", str(frontal), "--out", str(out)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "normal withheld. The model makes no claim on normal" in printed


def test_a_path_that_is_not_there_exits_with_1(tmp_path, capsys):
    assert main(["analyse", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 1
    assert "absent" in capsys.readouterr().err


def test_a_file_that_fails_is_named_and_the_next_is_read(frontal, tmp_path, capsys, monkeypatch):
    class Failing(BrightEngine):
        def analyse(self, image):
            if not image.any():
                raise RuntimeError("quoting the patient")
            return super().analyse(image)

    monkeypatch.setattr(analyse, "open_engine", lambda *_: Failing())
    black = make_radiograph(picture=synthetic_chest(150, 130, 0) * 0)
    black.save_as(frontal.with_name("black.dcm"))
    assert main(["analyse", str(frontal.parent), "--out", str(tmp_path / "out"), "--json"]) == 1
    first, second = documents(capsys)
    assert (first["decision"], first["rung"], second["decision"]) == ("hold", "failure", "accept")
    assert "quoting" not in first["reason"]


def test_a_wrong_setting_exits_with_2_and_its_key(frontal, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text("[dicom]\nprot = 1")
    arguments = ["analyse", str(frontal), "--out", str(tmp_path / "out"), "--config", str(config)]
    assert main(arguments) == 2
    assert "dicom.prot" in capsys.readouterr().err


def test_identity_is_not_printed(frontal, tmp_path, capsys, caplog):
    main(["analyse", str(frontal), "--out", str(tmp_path / "out")])
    header = dcmread(frontal)
    said = "".join(capsys.readouterr()) + caplog.text
    for value in (header.PatientName.family_name, header.PatientID, header.AccessionNumber):
        assert str(value) not in said
