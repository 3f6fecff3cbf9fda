from __future__ import annotations

import json

import pytest
from PIL import Image
from toy_bundle import write_toy_bundle

from training import cli


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_toy_bundle(tmp_path_factory.mktemp("toy"), lungs="lung-fields-area")


@pytest.fixture(scope="module")
def without_lungs(tmp_path_factory):
    return write_toy_bundle(tmp_path_factory.mktemp("without"))


def test_a_bundle_is_explained(bundle, corpus, tmp_path, capsys):
    """The toy takes what is dark for lung: of this corpus whole films, all covid19, or none."""
    written, sheet = tmp_path / "explained.json", tmp_path / "sheet.png"
    arguments = ["--bundle", bundle, "--manifest", corpus, "--json", written, "--sheet", sheet]
    assert cli.main(["explain", *map(str, arguments)]) == 0
    found = json.loads(written.read_text())
    assert found["model"]["name"] == "toy"
    assert found["maps"]["all"]["films"] == 18
    assert found["films_left_out"] == 6, "the bright ones have no lungs"
    assert found["views"]["whole"]["rows"]["all"]["n"] == 12
    with Image.open(sheet) as image:
        assert image.size[0] > 1000
    printed = capsys.readouterr().out
    assert "toy 0.0.1" in printed
    assert "In 6 films no lungs were found" in printed


def test_another_bundle_lends_its_lungs(bundle, without_lungs, corpus, tmp_path, capsys):
    arguments = ["explain", "--bundle", str(without_lungs), "--manifest", str(corpus), "--limit", "6"]
    assert cli.main(arguments) == 1
    assert "no lung network" in (said := capsys.readouterr().err)
    assert "--lungs" in said
    written = tmp_path / "explained.json"
    assert cli.main([*arguments, "--lungs", str(bundle), "--fill", "smooth", "--json", str(written)]) == 0
    found = json.loads(written.read_text())
    assert set(found["views"]) == {"whole", "lungs_blanked", "lungs_only"}
    assert found["fill"] == "smooth"
    assert found["maps"]["all"]["films"] == 6
    assert found["manifests"][0].endswith("split test, 6 of 18 films")


def test_a_fold_can_be_explained(bundle, corpus, tmp_path):
    written = tmp_path / "explained.json"
    arguments = ["--bundle", bundle, "--manifest", corpus, "--fold", "2/3", "--limit", "5", "--json", written]
    assert cli.main(["explain", *map(str, arguments)]) == 0
    found = json.loads(written.read_text())
    assert "fold 2/3, seed 0, 5 of " in found["manifests"][0]


def test_what_cannot_be_is_said_before_any_work(bundle, corpus, tmp_path, capsys):
    arguments = ["explain", "--bundle", str(bundle), "--manifest", str(corpus)]
    for extra, said in (
        (["--json", str(tmp_path / "none" / "x.json")], "there is no folder"),
        (["--sheet", str(tmp_path / "x.gif")], "ends in .png"),
        (["--bundle", str(tmp_path)], "bundle.toml"),
    ):
        assert cli.main([*arguments, *extra]) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--limit", "0"])
