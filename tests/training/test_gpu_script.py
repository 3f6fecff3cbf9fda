"""The script for a machine with a GPU, here without one; the fit is a stub, what is around it is real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.run_folder import read_settings, read_weights

SCRIPT = Path(__file__).parents[2] / "training" / "gpu.sh"
DEADLINE = 120
PIECE = 16 * 1024 * 1024

STUB = """#!/bin/sh
case "$*" in
"-m training.cli fit"*)
    echo "$KERAS_BACKEND $*" >> "$TOLD"
    mkdir -p "$7" && cp "$WEIGHTS" "$7/weights.npz" && echo '{"seed": 3}' > "$7/settings.json" ;;
*) exec "$REAL" "$@" ;;
esac
"""


def run(*arguments, **environment):
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "jax", **{name: str(v) for name, v in environment.items()}},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.fixture
def site(tmp_path):
    """Environment with an interpreter whose fit copies weights; 20 MiB of them as float16."""
    weights = {
        "conv1_conv/kernel": np.random.default_rng(0).normal(size=(10 * 1024, 1024)).astype(np.float32),
        "conv1_conv/bias": np.arange(4, dtype=np.float32),
    }
    np.savez(tmp_path / "fitted.npz", **weights)
    (tmp_path / "films.npz").write_bytes(b"films")
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return tmp_path, {
        "PYTHON": stub,
        "REAL": sys.executable,
        "WEIGHTS": tmp_path / "fitted.npz",
        "TOLD": tmp_path / "told",
    }


def fit(site, *options):
    folder, environment = site
    return run("fit", folder / "films.npz", folder / "run", folder / "out", *options, **environment)


def test_weights_go_to_pieces_and_come_together_as_float16(site):
    folder, environment = site
    done = fit(site, "--effort", "0.5", "--seed", "3")
    assert done.returncode == 0, done.stderr
    told = (folder / "told").read_text().split()
    assert told[0] == "jax"
    assert told[4:] == [
        *("--packed", str(folder / "films.npz"), "--run", str(folder / "run")),
        *("--effort", "0.5", "--seed", "3"),
    ]
    pieces = sorted((folder / "out").glob("weights.npz.*"))
    assert len(pieces) == 2
    assert all(0 < piece.stat().st_size <= PIECE for piece in pieces)
    joined = run("join", folder / "out", folder / "joined.npz", **environment)
    assert joined.returncode == 0, joined.stderr
    with np.load(folder / "fitted.npz") as fitted, np.load(folder / "joined.npz") as archive:
        assert sorted(archive.files) == sorted(fitted.files)
        for name in fitted.files:
            assert archive[name].dtype == np.float16
            np.testing.assert_array_equal(archive[name], fitted[name].astype(np.float16))


def test_settings_come_along_so_that_what_is_joined_is_a_run(site):
    folder, environment = site
    assert fit(site).returncode == 0
    joined = folder / "joined"
    for _ in range(2):
        done = run("join", folder / "out", joined / "weights.npz", **environment)
        assert done.returncode == 0, done.stderr
    assert read_settings(joined) == {"seed": 3}
    assert read_weights(joined).keys() == {"conv1_conv/kernel", "conv1_conv/bias"}
    (joined / "settings.json").write_text("{}")
    done = run("join", folder / "out", joined / "weights.npz", **environment)
    assert (done.returncode, "of another run" in done.stderr) == (1, True)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_pieces_that_are_not_all_there_are_refused(site, harm):
    folder, environment = site
    assert fit(site).returncode == 0
    piece = folder / "out" / "weights.npz.001"
    if harm == "missing":
        piece.unlink()
    else:
        content = bytearray(piece.read_bytes())
        content[1000] ^= 1
        piece.write_bytes(content)
    done = run("join", folder / "out", folder / "joined.npz", **environment)
    assert done.returncode == 1
    assert "missing or changed" in done.stderr
    assert not (folder / "joined.npz").exists()


def test_weights_that_are_no_numbers_are_not_given_out(site):
    folder, _ = site
    np.savez(folder / "fitted.npz", kernel=np.array([1e9], np.float32))
    done = fit(site)
    assert done.returncode == 1
    assert "kernel is too large" in done.stderr
    assert not (folder / "out" / "weights.sha256").exists()


def test_weights_are_not_written_over(site):
    assert fit(site).returncode == 0
    done = fit(site)
    assert done.returncode == 1
    assert "already" in done.stderr


def test_what_is_missing_is_told(tmp_path):
    done = run("fit", tmp_path / "none.npz", tmp_path / "run", tmp_path / "out")
    assert (done.returncode, "cxr-train pack" in done.stderr) == (1, True)
    done = run("join", tmp_path, tmp_path / "joined.npz")
    assert (done.returncode, "weights.sha256" in done.stderr) == (1, True)
    done = run("other")
    assert (done.returncode, "usage" in done.stderr or "gpu.sh fit" in done.stderr) == (2, True)


def test_a_fit_imports_no_tensorflow_and_little_else():
    code = "import sys, training.cli.fit, training.loop, training.progress; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "keras" in imported
    assert not imported & {"tensorflow", "torch", "highdicom", "pynetdicom", "optuna", "sqlalchemy", "dbos"}
