"""The disk is full: A700, nothing half is taken as whole, and it goes on by itself when there is space again.

The tests are in `on_a_small_disk`. They fill a disk of their own in a mount namespace of their own: nothing
stays mounted, and a user who is not root may do it too, where user namespaces are allowed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCENES = Path(__file__).with_name("on_a_small_disk.py")
_ALONE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]


@pytest.mark.timeout(600)
def test_a_full_disk(tmp_path: Path):
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'scenes'}",
    ]
    ended = subprocess.run(
        [*_ALONE, *run, "--no-cov", str(_SCENES)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 passed" in ended.stdout
