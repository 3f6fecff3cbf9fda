"""A guide in Markdown, followed: its files are written, its commands run as they stand, its outputs compared.

A fenced block is what its info string tells. `toml NAME`, `csv NAME` and the like are files. `sh server PORT`
is a server that listens there before the guide goes on; an earlier one on this port ends. `sh`, `sh WORD` are
commands, the latter left out unless WORD was asked for. Of `text` right behind commands each line is one of
their output; `…` is any text, and a line `…` any lines.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from peers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Block", "Followed", "blocks"]

_FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND_SECONDS = 240
_SERVER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: words of its info string, text, line where it begins, and the output told of it."""

    words: tuple[str, ...]
    body: str
    line: int
    output: tuple[str, ...] | None = None


def blocks(markdown: str) -> Iterator[Block]:
    """Every block; what is told of a command's output is with it."""
    found = [
        Block(tuple(one["info"].split()), one["body"], markdown.count("\n", 0, one.start()) + 1)
        for one in _FENCE.finditer(markdown)
    ]
    for number, block in enumerate(found):
        if block.words == ("text",):
            assert found[number - 1].words[0] == "sh", f"line {block.line}: an output without commands"
            continue
        after = found[number + 1] if number + 1 < len(found) else None
        told = tuple(after.body.splitlines()) if after and after.words == ("text",) else None
        yield Block(block.words, block.body, block.line, told)


class Followed:
    """A folder in which a guide is followed, with its servers.

    Parameters
    ----------
    folder : Path
        Where the reader would be.
    environment : mapping
        Of the commands.
    flavours : sequence of str
        Words of the blocks that are not for everybody.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], flavours: Sequence[str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._flavours = set(flavours)
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        self.ran = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for port in list(self._servers):
            self._end(port)

    def follow(self, block: Block) -> None:
        """Do what a block asks for; AssertionError names the line of the guide."""
        kind, *words = block.words
        if kind != "sh":
            (self._folder / words[0]).write_text(block.body, encoding="utf-8")
            return
        port = int(words.pop(words.index("server") + 1)) if "server" in words else None
        if not set(words) - {"server"} <= self._flavours:
            return
        self.ran += 1
        if port is not None:
            self._serve(block, port)
        else:
            self._run(block)

    def _run(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.body],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        said = f"line {block.line} of the guide: {block.body}exit code {done.returncode}\n{done.stdout}"
        assert done.returncode == 0, said
        if block.output is not None:
            assert is_said(block.output, done.stdout.replace("\0", "").splitlines()), (
                f"{said}\ntold: {block.output}"
            )

    def _serve(self, block: Block, port: int) -> None:
        self._end(port)
        assert not _listens(port), f"port {port} of the guide is taken on this machine"
        log = (self._folder / f"server-{port}.log").open("ab")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {block.body}"],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._servers[port] = process
        eventually(lambda: _listens(port) or process.poll() is not None, timeout=_SERVER_SECONDS)
        assert process.poll() is None, f"line {block.line} of the guide: it ended\n{self.log(port)}"

    def log(self, port: int) -> str:
        """What a server said."""
        return (self._folder / f"server-{port}.log").read_text(encoding="utf-8", errors="replace")

    def _end(self, port: int) -> None:
        process = self._servers.pop(port, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def is_said(told: Sequence[str], said: Sequence[str]) -> bool:
    """Whether `said` is what was `told`, with its gaps; blanks at the ends of lines do not count."""
    lines = [line.strip() for line in said if line.strip()]
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line.strip() == "…" else f"{_pattern(line)}\n" for line in told if line.strip()
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.strip().split("…")))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
