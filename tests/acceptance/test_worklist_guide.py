"""docs/worklist-testing.md, followed from its first line to its last, with the tools of each set."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dcm4che import tool
from guide import Block, Followed, blocks, is_said
from swift_gateway import COMMAND, SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

_REPOSITORY = Path(__file__).parents[2]
_GUIDE = (_REPOSITORY / "docs" / "worklist-testing.md").read_text(encoding="utf-8")
_DCM4CHE = ("findscu", "storescu", "storescp", "stgcmtscu", "mppsscu", "movescu")


def _script(path: Path, command: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(0o755)


def _environment(bin_folder: Path) -> Mapping[str, str]:
    """Where ``cxr-pacs`` is the gateway with an engine that starts soon, and Orthanc is found by all."""
    swift, usual = shlex.join(COMMAND), shlex.join((sys.executable, "-m", "cxr_pacs"))
    _script(bin_folder / "cxr-pacs", f'if [ "$1" = serve ]; then exec {swift} "$@"; fi\nexec {usual} "$@"')
    path = f"{bin_folder}:{os.environ['PATH']}:/usr/sbin"
    return {"PATH": path, "CXR_PACS": str(_REPOSITORY), SECONDS: "0"}


def _follow(folder: Path, environment: Mapping[str, str], flavour: str) -> None:
    folder.mkdir()
    # Its ports are those of the guide: one reader at a time on a machine.
    with (
        Path(tempfile.gettempdir(), "worklist-guide.lock").open("w") as lock,
        Followed(folder, environment, (flavour,)) as followed,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        for block in blocks(_GUIDE):
            followed.follow(block)
        assert followed.ran > 20


@pytest.mark.timeout(600)
def test_with_dcmtk(tmp_path: Path):
    _follow(tmp_path / "here", _environment(tmp_path / "bin"), "dcmtk")


@pytest.mark.timeout(600)
def test_with_dcm4che(tmp_path: Path):
    tools = {name: tool(name) for name in _DCM4CHE}
    environment = _environment(tmp_path / "bin")
    for name, path in tools.items():
        _script(tmp_path / "bin" / name, f'exec {shlex.quote(str(path))} "$@"')
    _follow(tmp_path / "here", environment, "dcm4che")


def test_each_question_is_put_by_each_tool_set():
    """Where a section shows dcm4che, it shows cxr-pacs or DCMTK beside it."""
    sections = _GUIDE.split("\n### ")[1:]
    assert len(sections) > 8
    for section in sections:
        flavours = {block.words[1:2] for block in blocks(section) if block.words[0] == "sh"}
        assert ("dcm4che",) not in flavours or flavours & {("dcmtk",), ()}, section.splitlines()[0]


@pytest.mark.parametrize(
    ("told", "said", "agree"),
    [
        (("a", "b"), ("a", "  b", ""), True),
        (("a",), ("a", "b"), False),
        (("a", "…"), ("a", "b", "c"), True),
        (("…", "c"), ("a", "b", "c"), True),
        (("…", "b"), ("a", "b", "c"), False),
        (("x … z",), ("x y z",), True),
        (("x … z",), ("x y", "z"), False),
        ((), ("a",), False),
    ],
)
def test_what_is_told_is_compared(told: tuple[str, ...], said: tuple[str, ...], *, agree: bool):
    assert is_said(told, said) is agree


def test_a_command_that_says_something_else_is_a_failure(tmp_path: Path):
    with Followed(tmp_path, {}, ()) as followed:
        followed.follow(Block(("sh",), "echo right\n", 1, ("right",)))
        for wrong in (Block(("sh",), "echo right\n", 7, ("wrong",)), Block(("sh",), "false\n", 7)):
            with pytest.raises(AssertionError, match="line 7 of the guide"):
                followed.follow(wrong)
