from __future__ import annotations

import datetime as dt
import sqlite3
from xml.etree import ElementTree as ET

import optuna
import pytest
from packed_films import small_plan
from rich.console import Console

from training import cli, search
from training.search import Choice, Search, SearchError, open_storage
from training.trials import Trial, best, counted, page, read_trials, table

NOTES = {"sensitivities": {"covid19": 0.9, "normal": 0.8}, "auroc": 0.95}


@pytest.fixture
def storage(tmp_path):
    with open_storage(f"sqlite:///{tmp_path}/search.db", 1) as storage:
        yield storage


def judged(choice, run, note):
    """Stand in for a fit: low rates are good."""
    for name, value in NOTES.items():
        note(name, value)
    return -choice.learning_rate


def worker(storage, folder, evaluate=judged, **settings):
    return Search(storage=storage, name="s", settings=settings, seed=3, folder=folder, evaluate=evaluate)


def test_a_choice_changes_every_stage_alike():
    plan = small_plan()
    changed = Choice(
        learning_rate=2.0, smoothing=0.5, augmentation=0.5, outside=3.0, weight_decay=0.01, batch=16
    ).of(plan)
    assert (changed.batch, changed.weight_decay, changed.seed) == (16, 0.01, plan.seed)
    for before, after in zip(plan.stages, changed.stages, strict=True):
        assert after.learning_rate == before.learning_rate * 2
        assert after.smoothing == before.smoothing / 2
        assert after.augmentation == before.augmentation.scaled(0.5)
        assert after.outside == before.outside * 3
        assert (after.size, after.passes) == (before.size, before.passes)


def test_a_search_goes_on_where_it_was_and_no_further_than_asked(storage, tmp_path):
    assert counted(read_trials(worker(storage, tmp_path).run(2))) == "2 complete"
    assert counted(read_trials(worker(storage, tmp_path).run(2))) == "2 complete"
    trials = read_trials(worker(storage, tmp_path).run(4))
    assert counted(trials) == "4 complete"
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[0].sensitivities == NOTES["sensitivities"]


def test_the_same_seed_proposes_the_same(storage, tmp_path):
    first = read_trials(worker(storage, tmp_path).run(12))
    with open_storage(f"sqlite:///{tmp_path}/other.db", 1) as other:
        for trials in (5, 12):  # stopped and taken up
            again = read_trials(worker(other, tmp_path / "other").run(trials))
    assert [trial.choice for trial in again] == [trial.choice for trial in first]
    assert len({trial.choice["learning_rate"] for trial in first}) == 12


def test_an_interrupted_trial_is_done_again_in_its_folder(storage, tmp_path):
    runs = []

    def interrupted(choice, run, note):
        runs.append((run, choice))
        if len(runs) == 2:
            raise KeyboardInterrupt
        return judged(choice, run, note)

    with pytest.raises(KeyboardInterrupt):
        worker(storage, tmp_path, interrupted).run(3)
    trials = read_trials(worker(storage, tmp_path, interrupted).run(3))
    assert [trial.state for trial in trials] == ["complete", "fail", "complete", "complete"]
    assert trials[2].again == 1
    assert runs[2] == runs[1]
    assert [run.name for run, _ in runs] == ["trial-0", "trial-1", "trial-1", "trial-3"]


def test_a_trial_that_never_gave_a_sign_of_life_is_not_left_running(storage, tmp_path, monkeypatch):
    worker(storage, tmp_path).run(1)
    with pytest.warns(UserWarning, match="Heartbeat"):
        optuna.load_study(study_name="s", storage=storage).ask()

    class Later(dt.datetime):
        @classmethod
        def now(cls):
            return super().now() + dt.timedelta(seconds=4)

    monkeypatch.setattr(search, "datetime", Later)
    assert counted(read_trials(worker(storage, tmp_path).run(3))) == "3 complete, 1 fail"


def test_a_worker_wrongly_taken_for_dead_goes_on_with_the_next_trial(storage, tmp_path):
    def overtaken(choice, run, note):
        study = optuna.load_study(study_name="s", storage=storage)
        number = len(study.get_trials()) - 1
        if number == 0:
            study.tell(number, state=optuna.trial.TrialState.FAIL)
        return judged(choice, run, note)

    assert counted(read_trials(worker(storage, tmp_path, overtaken).run(2))) == "2 complete, 1 fail"


def test_a_fault_of_a_fit_is_told_and_its_trial_has_failed(storage, tmp_path):
    def faulty(choice, run, note):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        worker(storage, tmp_path, faulty).run(1)
    assert counted(read_trials(worker(storage, tmp_path).run(1))) == "1 complete, 1 fail"


def test_another_search_of_the_same_name_is_refused(storage, tmp_path):
    worker(storage, tmp_path, films="abc").run(1)
    with pytest.raises(SearchError, match="begun with films abc, not xyz"):
        worker(storage, tmp_path, films="xyz").run(2)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no database"),
        ("nothing://here", "no database"),
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "does not answer"),
        ("sqlite:////nowhere/at/all.db", "does not answer"),
    ],
)
def test_what_is_no_database_is_one_error(url, said):
    with pytest.raises(SearchError, match=said), open_storage(url, 1):
        pass


def test_a_database_that_is_broken_is_one_error(tmp_path):
    path = tmp_path / "search.db"
    with open_storage(f"sqlite:///{path}", 1) as storage:
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE trials")
        connection.close()
        with pytest.raises(SearchError, match="start again"):
            worker(storage, tmp_path).run(1)


TRIALS = tuple(
    Trial(
        number=number,
        state="fail" if number == 2 else "complete",
        value=None if number == 2 else 0.5 + number % 2 * 0.2,
        choice={"learning_rate": 10.0 ** (number - 2), "batch": 8},
        sensitivities={} if number == 2 else {"covid19": 0.5 + number % 2 * 0.2, "<normal>": 0.9},
        auroc=None if number == 2 else 0.9,
        again=2 if number == 3 else None,
    )
    for number in range(5)
)


def test_the_best_come_first_and_the_earlier_of_equals():
    assert [trial.number for trial in best(TRIALS)] == [1, 3, 0, 4]


def test_the_table_names_the_best_and_what_was_done_again():
    console = Console(width=150)
    with console.capture() as captured:
        console.print(table(TRIALS))
    lines = [line for line in captured.get().splitlines() if "0.700" in line]
    assert [line.split()[1] for line in lines] == ["1", "3"]
    assert "3 (2 again)" in lines[1]


def test_the_page_stands_alone_and_has_a_dot_for_every_complete_trial():
    drawn = page(TRIALS, "a & b")
    body = drawn.partition("<body>")[2].partition("</body>")[0]
    tree = ET.fromstring(f"<b>{body}</b>")  # noqa: S314 - our own
    plots = tree.findall(".//svg")
    assert [plot.get("aria-label") for plot in plots] == ["best so far", "learning rate", "batch"]
    for plot in plots:
        dots = plot.findall("circle")
        assert len(dots) == 4
        for dot in dots:
            assert 0 <= float(dot.get("cx")) <= float(plot.get("width"))
            assert 0 <= float(dot.get("cy")) <= float(plot.get("height"))
    assert "4 complete, 1 fail" in drawn
    assert not any(word in drawn for word in ("http", "src=", "<script", "<normal>"))


def test_a_search_without_complete_trials_has_a_page_too():
    assert "1 fail" in page(TRIALS[2:3], "none")
    assert "no trials" in page((), "none")


@pytest.mark.parametrize("name", ["", "../up", ".hidden"])
def test_a_study_that_cannot_be_a_folder_is_refused(name, capsys):
    with pytest.raises(SystemExit):
        cli.main(["search", "--packed", "p", "--run", "r", "--trials", "1", "--study", name])
    assert "folder" in capsys.readouterr().err


def test_films_that_are_not_packed_are_one_line(tmp_path, capsys):
    arguments = ["--packed", str(tmp_path / "none.npz"), "--run", str(tmp_path), "--study", "s"]
    assert cli.main(["search", *arguments, "--trials", "1"]) == 1
    assert "cxr-train pack" in capsys.readouterr().err
