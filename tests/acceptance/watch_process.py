"""``cxr-pacs`` over a watched folder, as a process that may be killed and started again."""

from __future__ import annotations

import csv
import io
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Self

from peers import eventually
from pydicom import dcmread
from swift_gateway import COMMAND

from cxr_pacs.gateway.paths import path_digest

if TYPE_CHECKING:
    import signal
    from pathlib import Path

    from pydicom import FileDataset

__all__ = ["WATCH", "WatchProcess", "encoded", "header"]

_SETTINGS = """\
[spool]
path = "{spool}"
[study]
quiet_period = 0.3
[heatmap]
size = "source"
[delivery]
first_retry = 0.2
longest_retry = 1.0
"""
WATCH = """\
[[destination]]
name = "out"
folder = "{out}"
pictures = true
tables = true
[[watch]]
name = "watch"
folder = "{folder}"
notice = "{notice}"
rescan = {rescan}
stable = 0.5
"""


class WatchProcess:
    """``cxr-pacs`` over a folder, from `start` to `stop`."""

    def __init__(self, folder: Path, source: Path, out: Path, *arguments: object, more: str = "") -> None:
        self.source = source
        self.out = out
        folder.mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        self.spool = folder / "spool"
        self._log = folder / "log"
        self._config = folder / "site.toml"
        self._config.write_text(_SETTINGS.format(spool=self.spool) + more, encoding="utf-8")
        self._arguments = [*map(str, arguments), "--config", str(self._config)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*COMMAND, *self._arguments], stdout=log, stderr=log)

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(120)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def await_ready(self) -> None:
        eventually(lambda: "ready:" in self.said)

    @property
    def received(self) -> dict[str, float]:
        """When the image of each study came in."""
        query = "SELECT study_instance_uid, received_at FROM instance JOIN study ON study.id = study_id"
        with closing(sqlite3.connect(self.spool / "ledger.sqlite", timeout=30)) as ledger:
            return dict(ledger.execute(query).fetchall())

    def became(self, path: Path) -> tuple[str, str | None] | None:
        """What became of a file, and the reason; None where that is not known."""
        query = "SELECT state, reason FROM watched_file WHERE path_digest = ?"
        with closing(sqlite3.connect(self.spool / "ledger.sqlite", timeout=30)) as ledger:
            return ledger.execute(query, (path_digest(str(path)),)).fetchone()

    @property
    def results(self) -> list[Path]:
        return [path for path in self.out.glob("*/*.dcm") if not path.name.startswith(".")]

    @property
    def lines(self) -> list[dict[str, str]]:
        path = self.out / "instances.csv"
        return list(csv.DictReader(io.StringIO(path.read_text()))) if path.is_file() else []


def encoded(film: FileDataset) -> bytes:
    """The film as a file's bytes."""
    buffer = io.BytesIO()
    film.save_as(buffer)
    return buffer.getvalue()


def header(path: Path) -> FileDataset:
    """All of a file but its pixels."""
    return dcmread(path, stop_before_pixels=True)
