from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from brightness_corpus import COLUMNS, write_manifest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle
from training import cli
from training.corpus import read_corpus
from training.evaluation import read_table
from training.scoring import activation, score


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_toy_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def rewritten(corpus, tmp_path):
    """Write the corpus again with other rows; give the manifest."""

    def rewrite(change):
        folder = shutil.copytree(corpus, tmp_path / "corpus")
        with (folder / "manifest.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        write_manifest(folder, [row for row in rows if change(row) is not False], COLUMNS)
        return folder / "manifest.csv"

    return rewrite


def evaluated(tmp_path, *arguments):
    written = tmp_path / "evaluation.json"
    assert cli.main(["evaluate", "--json", str(written), *map(str, arguments)]) == 0
    return json.loads(written.read_text())


def test_a_bundle_is_judged_beside_baselines(bundle, corpus, tmp_path, capsys):
    html = tmp_path / "report.html"
    found = evaluated(tmp_path, "--bundle", bundle, "--manifest", corpus, "--html", html)
    assert found["model"]["digest"] == load_bundle(bundle).identity.digest
    assert found["rows"]["all"]["n"] == 18
    films = [film for film in read_corpus(corpus) if film.split == "test"]
    bright = np.mean([film.label == "covid19" for film in films if film.p_values().mean() > 0.7])
    assert bright == 0, "the toy calls what is bright covid19, and here it is normal"
    assert found["rows"]["all"]["multiclass"]["sensitivity"]["normal"]["value"] == 0
    assert found["baselines"]["thumbnail"]["rows"]["all"]["multiclass"]["accuracy"]["value"] == 1
    assert found["gain"]["all"]["multiclass"]["accuracy"]["value"] < 0
    printed = capsys.readouterr().out
    assert "toy 0.0.1" in printed
    assert "never a diagnosis" in printed
    assert "data:image/jpeg;base64," in html.read_text()


def test_films_held_out_elsewhere_are_judged_whatever_their_columns_say(bundle, rewritten, tmp_path, capsys):
    splits = iter(["held", ""] * 40)

    def change(row):
        row.update(split=next(splits), source="unheard-of", cohort="", age="", view="", sex="")

    found = evaluated(tmp_path, "--bundle", bundle, "--manifest", rewritten(change), "--split", "all")
    assert set(found["rows"]) == {"all", "source=unheard-of"}
    assert found["rows"]["all"]["n"] == 72
    assert found["rows"]["all"]["multiclass"]["auroc"]["normal"] is not None
    assert found["baselines"] == {}
    assert "No trivial baseline was measured" in capsys.readouterr().out


def test_baselines_can_be_fitted_on_another_manifest(bundle, corpus, rewritten, tmp_path):
    def change(row):
        row.update(split="held", patient_id=f"other-{row['patient_id']}")

    manifest = rewritten(change)
    arguments = ("--bundle", bundle, "--manifest", manifest, "--split", "all", "--baseline-manifest", corpus)
    found = evaluated(tmp_path, *arguments)
    assert found["baselines"]["thumbnail"]["rows"]["all"]["binary"]["n"] == 48
    assert found["baselines"]["thumbnail, adult only"]["rows"].keys() == {"cohort=adult", "source=here"}


def test_one_class_alone_can_be_judged(bundle, rewritten, tmp_path):
    manifest = rewritten(lambda row: row["label"] == "covid19")
    html = tmp_path / "report.html"
    found = evaluated(tmp_path, "--bundle", bundle, "--manifest", manifest, "--split", "all", "--html", html)
    figures = found["rows"]["all"]["multiclass"]
    assert figures["sensitivity"]["covid19"] is not None
    assert (
        figures["balanced_accuracy"]
        is figures["auroc"]["covid19"]
        is figures["sensitivity"]["normal"]
        is None
    )
    assert html.stat().st_size > 5000


def test_scores_of_parts_are_judged_as_the_whole(bundle, corpus, tmp_path):
    files = []
    for split in ("val", "test"):
        files.append(tmp_path / f"{split}.npz")
        evaluated(tmp_path, "--bundle", bundle, "--manifest", corpus, "--split", split, "--scores", files[-1])
    pooled = evaluated(tmp_path, "--scores-from", *files, "--html", tmp_path / "pooled.html")
    whole = evaluated(tmp_path, "--bundle", bundle, "--manifest", corpus, "--split", "val+test")
    assert pooled["rows"]["all"]["n"] == 36
    for row in whole["rows"]:
        for head in ("binary", "multiclass"):
            one, other = pooled["rows"][row][head], whole["rows"][row][head]
            assert one["accuracy"]["value"] == other["accuracy"]["value"]
            values = (
                {label: area["value"] for label, area in figures["auroc"].items()} for figures in (one, other)
            )
            assert next(values) == pytest.approx(next(values))
    assert pooled["baselines"].keys() == whole["baselines"].keys()
    assert "val" in read_table(files[0]).manifests[0]


def test_folds_pooled_judge_every_film_beside_baselines_of_the_others(bundle, corpus, tmp_path):
    files = []
    for fold in ("1/2", "2/2"):
        files.append(tmp_path / f"fold-{fold[0]}.npz")
        evaluated(tmp_path, "--bundle", bundle, "--manifest", corpus, "--fold", fold, "--scores", files[-1])
    pooled = evaluated(tmp_path, "--scores-from", *files)
    assert pooled["rows"]["all"]["n"] == 72
    assert pooled["baselines"]["thumbnail"]["rows"]["all"]["n"] == 72
    assert len(pooled["manifests"]) == 2


def test_a_patient_in_two_splits_is_refused(bundle, rewritten, capsys):
    manifest = rewritten(lambda row: row.update(split="test") if row["file"] == "0.png" else None)
    assert cli.main(["evaluate", "--bundle", str(bundle), "--manifest", str(manifest)]) == 1
    said = capsys.readouterr().err
    assert "patients of 1 films of split test are in another split too, the first film is 0.png" in said


def test_a_split_without_films_names_the_way_out(bundle, rewritten, capsys):
    manifest = rewritten(lambda row: row.update(split="held"))
    assert cli.main(["evaluate", "--bundle", str(bundle), "--manifest", str(manifest)]) == 1
    assert "no film of split test; --split all ignores the column" in capsys.readouterr().err


def test_a_manifest_or_bundle_that_is_not_there_is_one_line(bundle, corpus, tmp_path, capsys):
    for arguments in (
        ["--bundle", str(bundle), "--manifest", str(tmp_path)],
        ["--bundle", str(tmp_path), "--manifest", str(corpus)],
        ["--scores-from", str(tmp_path / "none.npz")],
        ["--bundle", str(bundle), "--manifest", str(corpus), "--json", str(tmp_path / "none" / "x.json")],
    ):
        assert cli.main(["evaluate", *arguments]) == 1
        said = capsys.readouterr().err
        assert said.startswith("cxr-train: ")
        assert said.count("\n") == 1


def test_scores_are_the_engines_and_maps_lie_over_the_film(bundle, corpus):
    class Engine:
        """Says what the loaded engine would, and counts."""

        def __init__(self, inner):
            self.inner, self.shapes = inner, []

        def analyse(self, picture):
            self.shapes.append(picture.shape)
            return self.inner.analyse(picture)

    from cxr_pacs.inference import load_engine  # noqa: PLC0415

    loaded = load_bundle(bundle)
    engine = Engine(load_engine(loaded, "cpu"))
    films = read_corpus(corpus)[:3]
    table = score(loaded, films, engine=engine)
    assert engine.shapes == [film.pixels.shape for film in films]
    said = engine.inner.analyse(films[1].p_values()).findings
    np.testing.assert_allclose(
        table.head("multiclass").probabilities[1], [s.score for s in said.head("multiclass")]
    )
    assert table.head("multiclass").thresholds[0].tolist() == [0.4, 0.4, 0.5]
    assert activation(engine, films[2], "binary", "covid19").shape == films[2].pixels.shape
