from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from packed_films import packed_films
from postgres import PostgresServer

from training.packed import write_packed
from training.search import open_storage
from training.trials import page, read_trials

HERE = Path(__file__).parent
DEADLINE = 200
TRIALS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/search.db"
    else:
        with PostgresServer() as server:
            yield server.new_database()


def start(die_at: int, options: list[str], log: Path, *, gated: bool) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, HERE / "search_worker.py", str(die_at), "gated" if gated else "free", *options],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def test_the_trial_of_a_killed_worker_is_done_again_from_where_it_was(storage, tmp_path):
    packed, folder, plot = tmp_path / "films.npz", tmp_path / "run", tmp_path / "trials.html"
    write_packed(packed_films(), packed)
    options = (
        f"--packed {packed} --run {folder} --study s --storage {storage} --trials {TRIALS} --heartbeat 1"
    )
    die_at = random.SystemRandom().randint(3, 5)  # in the second epoch of a trial, or a later one
    logs = [tmp_path / name for name in ("victim.log", "survivor.log")]
    victim = start(die_at, options.split(), logs[0], gated=False)
    survivor = start(0, [*options.split(), "--plot", str(plot)], logs[1], gated=True)
    try:
        assert victim.wait(DEADLINE) == -signal.SIGKILL, logs[0].read_text()
        survivor.stdin.close()  # it stood in its own first trial until now
        assert survivor.wait(DEADLINE) == 0, logs[1].read_text()
    finally:
        for worker in (victim, survivor):
            worker.kill()
            worker.wait()
            worker.stdin.close()

    with open_storage(storage, 1) as opened:
        trials = read_trials(optuna.load_study(study_name="s", storage=opened))
    states = sorted(trial.state for trial in trials)
    assert states == ["complete"] * TRIALS + ["fail"], f"died at step {die_at}"
    (dead,) = [trial for trial in trials if trial.state == "fail"]
    (again,) = [trial for trial in trials if trial.again is not None]
    assert (again.again, again.choice) == (dead.number, dead.choice)
    assert again.sensitivities.keys() == {"covid19", "bacterial_pneumonia", "normal"}

    runs = sorted(run.name for run in (folder / "s").iterdir())
    assert runs == sorted(f"trial-{trial.number}" for trial in trials if trial is not again)
    log = (folder / "s" / f"trial-{dead.number}" / "log.jsonl").read_text().splitlines()
    epochs = [(line["stage"], line["epoch"]) for line in map(json.loads, log)]
    assert epochs == sorted(set(epochs))  # none was done twice
    assert f"trial {again.number}" in page(trials, "s")
    assert plot.read_text() == page(trials, "Search s")
    assert "3 complete, 1 fail" in logs[1].read_text()
