"""From films to a bundle with the commands alone: pack, pretrain, fit, export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from packed_films import ARCHITECTURE
from tiny import lungs_file, make_tiny
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import load_bundle
from training import cli
from training.corpus import CorpusError, read_corpus
from training.judged import check_held_out
from training.packed import joined, read_packed, write_packed
from training.recipe import HEADS
from training.transfer import StartError, read_start

NAMED = ("--version", "1.0.0", "--licence", "CC0-1.0", "--limitation", "It is tiny.")


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        yield


@pytest.fixture(scope="module")
def lungs(tmp_path_factory):
    return lungs_file(tmp_path_factory.mktemp("lungs"))


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def packed(corpus, lungs, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "films.npz"
    assert run("pack", "--manifest", corpus, "--lungs", lungs, "--out", path) == 0
    return path


@pytest.fixture(scope="module")
def whole(corpus, lungs, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "films.npz"
    assert run("pack", "--manifest", corpus, "--lungs", lungs, "--whole", "--out", path) == 0
    return path


@pytest.fixture(scope="module")
def pretrained(packed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    assert run("pretrain", "--packed", packed, "--run", folder, "--passes", "64") == 0
    return folder


@pytest.fixture(scope="module")
def fitted(packed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "run"
    assert run("fit", "--packed", packed, "--run", folder) == 0
    return folder


def refused(capsys, *arguments):
    assert run(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("cxr-train: ")
    return line


def test_a_packed_corpus_knows_how_it_was_made(packed, whole, corpus):
    films, seen = read_packed(packed), read_packed(whole)
    assert len(films) == len(read_corpus(corpus)) == 72
    assert films.preprocessing.startswith("lung-fields-area ")
    assert films.split("val").preprocessing == films.preprocessing
    assert seen.preprocessing == "squash-area"
    dark = films.labels != "normal"
    assert (films.views[dark, ..., 2] > 0).any(axis=(1, 2)).all(), "what is dark is lung here"
    assert not films.views[~dark, ..., 2].any()
    assert (seen.views[..., 1] == 255).all()
    with pytest.raises(CorpusError, match="show films differently"):
        joined([films, seen])


def test_what_cannot_be_packed_is_told(corpus, lungs, tmp_path, capsys):
    pack = ("pack", "--manifest", corpus)
    nowhere = tmp_path / "none" / "films.npz"
    assert "there is no folder" in refused(capsys, *pack, "--lungs", lungs, "--out", nowhere)
    (tmp_path / "empty.npz").touch()
    for file in ("none.npz", "empty.npz"):
        arguments = ("--lungs", tmp_path / file, "--out", tmp_path / "films.npz")
        assert "holds no weights" in refused(capsys, *pack, *arguments)


def test_a_pretraining_is_taken_up_only_as_it_was_begun(pretrained, packed, capsys):
    assert run("pretrain", "--packed", packed, "--run", pretrained, "--passes", "64") == 0
    again = ("pretrain", "--packed", packed, "--run", pretrained, "--passes", "128")
    assert "another stages" in refused(capsys, *again)
    assert "another" in refused(capsys, "fit", "--packed", packed, "--run", pretrained)


def test_a_pretraining_needs_films(packed, tmp_path, capsys):
    few = tmp_path / "few.npz"
    with np.load(packed) as archive:
        columns = dict(archive)
    columns["splits"] = np.where(np.arange(72) < 4, "train", "test")
    np.savez(few, **columns)
    arguments = ("pretrain", "--packed", few, "--run", tmp_path / "run")
    assert "4 films of split train are fewer than 16" in refused(capsys, *arguments)
    assert not (tmp_path / "run").exists()


def test_a_fit_starts_from_a_pretraining_and_says_so(pretrained, packed, tmp_path, capsys):
    start = read_start(pretrained, ARCHITECTURE)
    assert start.kind == "pretraining"
    with np.load(pretrained / "weights.npz") as written:
        for name, weight in start.weights.items():
            np.testing.assert_array_equal(weight, written[name])
    assert not [name for name in start.weights if name.startswith(("binary", "multiclass"))]
    folder = tmp_path / "run"
    assert run("fit", "--packed", packed, "--run", folder, "--start", pretrained, "--fold", "1/2") == 0
    assert "not held out" in " ".join(capsys.readouterr().err.split())
    settings = json.loads((folder / "settings.json").read_text())
    assert "Features pretrained without classes" in settings["procedure"]
    assert settings["fold"] == "1/2"


def test_a_start_that_is_none_is_refused(pretrained, fitted, tmp_path):
    with pytest.raises(StartError, match=r"run of cxr-train fit; export it"):
        read_start(fitted, ARCHITECTURE)
    with pytest.raises(StartError, match="neither a bundle nor a finished run"):
        read_start(tmp_path, ARCHITECTURE)
    (tmp_path / "weights.npz").write_bytes((pretrained / "weights.npz").read_bytes()[:5000])
    with pytest.raises(StartError, match="neither a bundle nor a finished run"):
        read_start(tmp_path, ARCHITECTURE)
    np.savez(tmp_path / "weights.npz", other=np.zeros(3))
    with pytest.raises(StartError, match="layer conv1_conv has no kernel"):
        read_start(tmp_path, ARCHITECTURE)


def test_a_fit_is_not_taken_up_on_other_films(fitted, packed, whole, capsys):
    assert run("fit", "--packed", packed, "--run", fitted) == 0
    assert "another packed" in refused(capsys, "fit", "--packed", whole, "--run", fitted)
    changed = packed.with_name("changed.npz")
    packed.rename(changed)
    try:
        films = read_packed(changed)
        write_packed(replace(films, views=255 - films.views), packed)
        assert "another films" in refused(capsys, "fit", "--packed", packed, "--run", fitted)
        (fitted / "settings.json").rename(fitted / "kept.json")
        assert "other films" in refused(capsys, "fit", "--packed", packed, "--run", fitted)
    finally:
        changed.replace(packed)
        (fitted / "kept.json").replace(fitted / "settings.json")


def test_an_interrupted_fit_says_how_it_goes_on(packed, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.loop.Fit.weights", interrupt)
    assert run("fit", "--packed", packed, "--run", tmp_path) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("fit", "--effort", "0"),
        ("fit", "--effort", "nan"),
        ("fit", "--seed", "-1"),
        ("fit", "--fold-seed", "4294967296"),
        ("pretrain", "--passes", "0"),
        ("search", "--effort", "inf"),
        ("lungs", "--epochs", "0"),
        ("evaluate", "--fold-seed", "x"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(command, option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        run(command, option, value)
    assert ended.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err


def test_a_run_becomes_a_bundle_that_sees_what_was_fitted(fitted, corpus, lungs, tmp_path, capsys):
    out = tmp_path / "bundle"
    arguments = ("export", "--run", fitted, "--manifest", corpus, *NAMED)
    assert "whole" not in refused(capsys, *arguments, "--out", out)
    other = tmp_path / "lungs.npz"
    other.write_bytes(lungs.read_bytes() + b" ")
    assert "another network" in refused(capsys, *arguments, "--lungs", other, "--out", out)
    assert not out.exists()
    assert run(*arguments, "--lungs", lungs, "--out", out) == 0
    bundle = load_bundle(out)
    settings = json.loads((fitted / "settings.json").read_text())
    assert bundle.manifest.preprocessing.identifier == "lung-fields-area-24"
    assert bundle.manifest.training.procedure == settings["procedure"]
    with np.load(fitted / "weights.npz") as written:
        for name in written.files:
            if name.partition("/")[0] not in HEADS:  # those are centred
                np.testing.assert_allclose(bundle.weights[name], written[name], atol=1e-2)
    assert bundle.manifest.training.held_out == "splits val and test"
    assert bundle.identity.digest in capsys.readouterr().out
    for command in ("evaluate", "explain"):
        judge = (command, "--bundle", out, "--manifest", corpus, "--fold", "1/5")
        assert "would flatter it" in refused(capsys, *judge), "most of the fold was fitted to"
    assert "immutable" in refused(capsys, *arguments, "--lungs", lungs, "--out", out)


def test_a_cross_validation_goes_into_the_bundle(fitted, corpus, lungs, tmp_path, capsys):
    out, again = tmp_path / "one", tmp_path / "two"
    arguments = ("export", "--run", fitted, "--manifest", corpus, "--lungs", lungs, *NAMED)
    write_toy_bundle(out)  # which says of no film that it was held out
    files = [tmp_path / f"{number}.npz" for number in (1, 2)]
    for number, file in enumerate(files, start=1):
        judge = ("evaluate", "--bundle", out, "--manifest", corpus, "--fold", f"{number}/2", "--scores", file)
        assert run(*judge) == 0
    assert run(*arguments, "--out", again, "--crossval", *files) == 0
    found = {metric.films: metric.images for metric in load_bundle(again).manifest.metrics}
    assert {"test", "cross-validation", "cross-validation, adult"} <= found.keys()
    assert found["cross-validation"] == 72
    capsys.readouterr()
    assert "are in two" in refused(
        capsys, *arguments, "--out", tmp_path / "x", "--crossval", *files, files[0]
    )


def test_runs_of_several_seeds_become_one_bundle(fitted, packed, corpus, lungs, tmp_path, capsys):
    other = tmp_path / "other"
    assert run("fit", "--packed", packed, "--run", other, "--seed", "5") == 0
    out = tmp_path / "both"
    arguments = ("export", "--manifest", corpus, "--lungs", lungs, *NAMED, "--out", out, "--run", fitted)
    assert run(*arguments, other) == 0
    bundle = load_bundle(out)
    assert bundle.manifest.network.members == 2
    seed = json.loads((fitted / "settings.json").read_text())["seed"]
    assert f"2 networks, of the seeds {seed}, 5, each asked" in bundle.manifest.training.procedure
    assert bundle.manifest.training.seed is None
    for number, folder in enumerate((fitted, other), start=1):
        with np.load(folder / "weights.npz") as written:
            name = "conv1_conv/kernel"
            np.testing.assert_allclose(bundle.weights[f"m{number}_{name}"], written[name], atol=1e-2)
    assert run("evaluate", "--bundle", out, "--manifest", corpus) == 0
    with pytest.raises(StartError, match="holds 2 networks; a fit starts from one"):
        read_start(out, ARCHITECTURE)


def test_only_runs_that_differ_in_their_seed_are_asked_together(
    fitted, packed, corpus, lungs, tmp_path, capsys
):
    arguments = ("export", "--manifest", corpus, "--lungs", lungs, *NAMED, "--out", tmp_path / "out")
    line = refused(capsys, *arguments, "--run", fitted, fitted)
    assert f"{fitted} and {fitted} have one seed" in line
    longer = tmp_path / "longer"
    assert run("fit", "--packed", packed, "--run", longer, "--seed", "5", "--effort", "2") == 0
    assert "their procedure differs" in refused(capsys, *arguments, "--run", fitted, longer)
    settings = json.loads((fitted / "settings.json").read_text())
    for name, other in (("films", "0" * 64), ("fold", "1/2"), ("network", "efficientnet-lite0")):
        (longer / "settings.json").write_text(json.dumps(settings | {"seed": 5, name: other}))
        assert f"their {name} differs" in refused(capsys, *arguments, "--run", fitted, longer)
    assert not (tmp_path / "out").exists()


def test_a_fold_becomes_a_bundle_as_it_was_parted(packed, corpus, lungs, tmp_path, capsys):
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(runs):
        fold = ("--fold", "1/2", "--seed", seed)
        assert run("fit", "--packed", packed, "--run", folder, *fold) == 0
    out = tmp_path / "out"
    arguments = ("export", "--manifest", corpus, "--lungs", lungs, *NAMED, "--run", *runs, "--out", out)
    assert run(*arguments) == 0
    assert load_bundle(out).manifest.training.held_out == "fold 1/2, seed 0"
    assert run("evaluate", "--bundle", out, "--manifest", corpus, "--fold", "1/2") == 0
    for folder in runs:  # as an older version wrote them
        settings = json.loads((folder / "settings.json").read_text())
        del settings["fitted_to"]
        (folder / "settings.json").write_text(json.dumps(settings))
    capsys.readouterr()
    assert "an older version parted folds otherwise" in refused(capsys, *arguments[:-1], tmp_path / "again")


def test_what_is_no_run_is_not_exported(pretrained, corpus, lungs, tmp_path, capsys):
    arguments = ("export", "--manifest", corpus, "--lungs", lungs, *NAMED, "--out", tmp_path / "out")
    assert "is no run" in refused(capsys, *arguments, "--run", tmp_path)
    assert "no run of cxr-train fit" in refused(capsys, *arguments, "--run", pretrained)
    (tmp_path / "settings.json").write_text("[]")
    assert "no settings" in refused(capsys, *arguments, "--run", tmp_path)
    (tmp_path / "settings.json").write_text("{")
    assert "no JSON" in refused(capsys, *arguments, "--run", tmp_path)


@pytest.mark.parametrize(
    ("held_out", "described", "flatters"),
    [
        (None, "fold 1/5, seed 0", False),
        ("fold 1/5, seed 0", "fold 1/5, seed 0", False),
        ("fold 1/5, seed 0", "fold 2/5, seed 0", True),
        ("fold 1/5, seed 0", "fold 1/5, seed 1", True),
        ("fold 1/5, seed 0", "split test", True),
        ("fold 1/5, seed 0", "all films", False),
        ("splits val and test", "split val+test", False),
        ("splits val and test", "fold 1/5, seed 0", True),
    ],
)
def test_a_bundle_is_judged_on_what_was_held_out(held_out, described, flatters):
    if not flatters:
        check_held_out(held_out, described)
        return
    with pytest.raises(CorpusError, match="would flatter it"):
        check_held_out(held_out, described)
