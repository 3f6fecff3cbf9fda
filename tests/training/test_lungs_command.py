from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from tiny import lungs_file, make_tiny

from training import cli
from training.corpus import CorpusError
from training.lungs import read_lungs

HEADER = "image,mask,patient_id,source,content_box,split"


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Dark lungs on a bright ground, of two sources and three splits."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = [HEADER]
    for number in range(12):
        mask = np.zeros((64, 64), np.uint8)
        mask[14:50, 8:28] = 255
        mask[14:50, 36:56] = 255
        cv2.imwrite(str(folder / f"{number}-mask.png"), mask)
        cv2.imwrite(str(folder / f"{number}.png"), np.where(mask, 30 + number, 220).astype(np.uint8))
        source, split = (
            ("nlm-montgomery", "v7")[number % 2],
            ("train", "train", "val", "test")[number // 2 % 4],
        )
        lines.append(f'{number}.png,{number}-mask.png,secret-{number},{source},"0,0,64,64",{split}')
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return folder


def run(*arguments):
    return cli.main(["lungs", *map(str, arguments)])


def test_known_weights_are_judged_source_by_source(pairs, tmp_path, capsys):
    """The toy's network finds just what is dark."""
    written = tmp_path / "dice.json"
    weights = lungs_file(tmp_path / "toy")
    out = tmp_path / "lungs.npz"
    assert run("--manifest", pairs, "--out", out, "--judge", weights, "--json", written) == 0
    found = json.loads(written.read_text())
    assert found.keys() == {"val", "test"}
    for sources in found.values():
        assert sources.keys() == {"nlm-montgomery", "v7"}
        assert all(figure["least"] > 0.9 for figure in sources.values())
    assert not out.exists(), "nothing was fitted"
    printed = capsys.readouterr()
    assert "v7" in printed.out
    assert "secret" not in printed.out + printed.err + written.read_text()


def test_fitted_weights_are_those_that_are_judged(pairs, tmp_path, capsys):
    out, first, again = (tmp_path / name for name in ("lungs.npz", "first.json", "again.json"))
    assert run("--manifest", pairs, "--out", out, "--epochs", "2", "--json", first) == 0
    assert "epoch 2: loss" in capsys.readouterr().out
    assert run("--manifest", pairs, "--out", out, "--judge", out, "--json", again) == 0
    assert json.loads(first.read_text()) == json.loads(again.read_text())


def test_what_cannot_be_is_said_before_any_work(pairs, tmp_path, capsys):
    for arguments, said in (
        (("--manifest", pairs, "--out", tmp_path / "none" / "lungs.npz"), "there is no folder"),
        (("--manifest", pairs, "--out", tmp_path), "it is a folder"),
        (("--manifest", pairs, "--out", tmp_path / "x.npz", "--judge", tmp_path / "y.npz"), "no weights"),
    ):
        assert run(*arguments) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("box", ["-1,0,64,64", "0,0,65,64", "0,60,10,10", "0,0,0,9"])
def test_a_box_that_leaves_the_picture_is_told_by_its_line(pairs, tmp_path, box):
    (tmp_path / "manifest.csv").write_text(
        f'{HEADER}\n{pairs}/0.png,{pairs}/0-mask.png,secret,v7,"{box}",train\n', encoding="utf-8"
    )
    with pytest.raises(CorpusError, match="line 2: content_box leaves the picture of 64 x 64"):
        read_lungs(tmp_path / "manifest.csv")


def test_a_manifest_in_another_coding_is_told(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(HEADER.encode() + b"\n\xff\n")
    with pytest.raises(CorpusError, match="is not CSV in UTF-8"):
        read_lungs(tmp_path / "manifest.csv")
