"""What a person sees of ``cxr-pacs analyse``: recorded from a terminal of 80 and of 160 columns.

``CXR_RECORDINGS=FOLDER`` keeps both recordings there, as text, to be looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import generate_uid
from rich.cells import cell_len
from studies import new_radiograph
from swift_command import COMMAND

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough files for a summary, some with long names, some that cannot be read."""
    folder = tmp_path_factory.mktemp("radiographs")
    dataset = new_radiograph()
    for number in range(40):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = generate_uid()
        dataset.save_as(folder / f"{number:02}.dcm")
    dataset.ViewPosition = "LL"
    dataset.save_as(
        folder / ("a lateral view with a name that is longer than a terminal is wide " * 3 + ".dcm")
    )
    (folder / "röntgen [1] 胸部.txt").write_text("no DICOM")
    for number in range(12):
        (folder / f"gone {number}.dcm").symlink_to("nowhere")
    return folder


def record(command: Sequence[str], columns: int) -> tuple[int, list[str]]:
    """Run `command` in a terminal; its exit status, and every line as it stood there at some time."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm-256color"}
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    text = _CONTROL.sub("", said.decode())
    return process.wait(timeout=60), [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.parametrize("columns", [80, 160])
def test_nothing_is_wider_than_the_terminal(folder: Path, tmp_path: Path, columns: int):
    status, lines = record([*COMMAND, "analyse", str(folder), "--out", str(tmp_path / "out")], columns)
    assert status == 1
    kept = Path(os.environ.get("CXR_RECORDINGS", tmp_path)) / f"analyse-{columns}.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [line for line in lines if cell_len(line) > columns] == []
    bars = [line for line in lines if line.lstrip().startswith("reading")]
    assert len(bars) > 3
    assert any(re.search(r" \d+/54 +\d+\.\d/s, \d+ s left", line) for line in bars), bars
    assert re.search(r"━ +54/54 +\d+\.\d/s, took \d+ s", bars[-1]), bars[-1]
    assert any(re.search(r"reporting ━+ +40/40 ", line) for line in lines)
    said = " ".join(" ".join(lines).split())
    assert "AI-derived, not a diagnosis" in said
    assert re.search(r"│ 40 │ accept │ view_position +│", said)
    assert len([line for line in lines if re.search(r"│ [^│]*gone 1?\d\.dcm", line)]) >= 12
