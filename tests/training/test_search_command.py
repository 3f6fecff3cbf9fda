from __future__ import annotations

import pytest
from packed_films import packed_films

from training import cli
from training.objective import FitAndJudge
from training.packed import write_packed


@pytest.fixture
def command(tmp_path):
    packed = tmp_path / "films.npz"
    write_packed(packed_films(), packed)
    given = f"--packed {packed} --run {tmp_path / 'run'} --study s --trials 2"
    return ["search", *given.split()]


def judged(self, choice, run, note):
    note("sensitivities", {"covid19": 1.0, "bacterial_pneumonia": 0.75, "normal": 0.5})
    note("auroc", 0.9)
    return 0.5 + choice.smoothing / 100


def interrupted(self, choice, run, note):
    raise KeyboardInterrupt


def test_an_interrupted_search_is_taken_up_and_ends_with_a_table_and_a_page(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(FitAndJudge, "__call__", interrupted)
    assert cli.main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(FitAndJudge, "__call__", judged)
    plot = tmp_path / "trials.html"
    assert cli.main([*command, "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "s: 2 complete, 1 fail" in out
    assert "1 (0 again)" in out
    assert "Search s" in plot.read_text()


def test_another_effort_is_another_search(command, monkeypatch, capsys):
    monkeypatch.setattr(FitAndJudge, "__call__", judged)
    assert cli.main(command) == 0
    assert cli.main([*command, "--effort", "0.2"]) == 1
    assert "begun with effort 0.1, not 0.2" in capsys.readouterr().err
    assert cli.main([*command, "--study", "other", "--effort", "0.2"]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"splits": "train"}, "no film of split val"),
        ({"splits": "val"}, "no film of split train"),
        ({"labels": "normal"}, "none of covid19, bacterial_pneumonia"),
    ],
)
def test_films_that_cannot_be_searched_with_are_one_line(command, tmp_path, change, said, capsys):
    films = packed_films()
    for name, value in change.items():
        getattr(films, name)[:] = value
    write_packed(films, tmp_path / "films.npz")
    assert cli.main(command) == 1
    assert said in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_told_before_any_work(command, tmp_path, capsys):
    assert cli.main([*command, "--plot", str(tmp_path / "none" / "trials.html")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
