"""dcm4che's command line tools, where `DCM4CHE_BIN` names their folder; without them a test is skipped.

A tool is there under its own name, or with ``dcm4che-`` before it. An option that takes several values, as
`-m`, `-r` and `-s`, takes all words up to the next option: a file behind one comes after ``--``.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from peers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dcm4che", "listening", "needed", "tool"]

_BIN = "DCM4CHE_BIN"
_SECONDS = 120


def tool(name: str) -> Path:
    """Where a tool is; the test is skipped where it is not."""
    folder = os.environ.get(_BIN)
    if not folder:
        pytest.skip(f"{_BIN} names no folder with dcm4che's programs")
    # Commands run in other folders than this one.
    paths = [Path(folder).resolve() / name, Path(folder).resolve() / f"dcm4che-{name}"]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        pytest.skip(f"{_BIN}: {folder} has neither {name} nor dcm4che-{name}")
    return found


def needed(*names: str) -> None:
    """Skip the test where one of these tools is not there."""
    for name in names:
        tool(name)


def dcm4che(name: str, *arguments: object) -> None:
    """Run a tool to its end, which has to be a good one."""
    done = subprocess.run(
        [tool(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@contextmanager
def listening(name: str, port: int, log: Path, *arguments: object) -> Iterator[None]:
    """A tool that is a server, as soon as it listens at `port`."""
    with log.open("wb") as output:
        process = subprocess.Popen([tool(name), *map(str, arguments)], stdout=output, stderr=output)
    try:
        eventually(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text(errors="replace")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
