"""``cxr-pacs serve`` as a child process, with a settings file of its own."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Destination", "Gateway", "GatewayError", "GatewaySettings", "free_port"]

_START_TIMEOUT = 180.0
_STOP_TIMEOUT = 120.0


class GatewayError(RuntimeError):
    """The process ended, or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the gateway sends its objects."""

    name: str
    ae_title: str
    port: int
    host: str = "127.0.0.1"
    commitment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What a demo or a test wants to be different from the defaults.

    Attributes
    ----------
    folder : Path
        Holds the settings file, the spool and the log.
    port : int
        Where it listens on loopback.
    destinations : tuple of Destination
        Each gets every object.
    tables : dict
        Keys by table of the settings file, e.g. ``{"study": {"quiet_period": 0.5}}``; a list of such for a
        table that may be repeated.
    arguments : tuple of str
        Further options of ``cxr-pacs serve``.
    """

    folder: Path
    port: int
    destinations: tuple[Destination, ...]
    tables: Mapping[str, dict[str, object] | list[dict[str, object]]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def toml(self) -> str:
        """Write the settings file's text."""
        tables: dict[str, dict[str, object]] = {
            "dicom": {"host": "127.0.0.1", "port": self.port},
            "spool": {"path": str(self.folder / "spool")},
        }
        lines: list[str] = []
        for name, given in self.tables.items():
            if isinstance(given, dict):
                tables[name] = tables.get(name, {}) | given
                continue
            for keys in given:
                lines += [f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        for name, keys in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        for destination in self.destinations:
            lines += [
                "[[destination]]",
                f"name = {json.dumps(destination.name)}",
                f"ae_title = {json.dumps(destination.ae_title)}",
                f"host = {json.dumps(destination.host)}",
                f"port = {destination.port}",
                *(["commitment = true"] if destination.commitment else []),
                "",
            ]
        return "\n".join(lines)


class Gateway:
    """One gateway over one folder; it can be started again after it ended."""

    ae_title = "CXRPACS"
    host = "127.0.0.1"
    command = (sys.executable, "-m", "cxr_pacs")

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.port = settings.port
        self.config = settings.folder / "cxr-pacs.toml"
        self.log = settings.folder / "gateway.log"
        self.seconds_to_ready = float("nan")
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        """Process ID of the running gateway."""
        return self._running().pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._running().poll() is not None

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self.settings.toml(), encoding="utf-8")
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [*self.command, "serve", "--config", str(self.config), *self.settings.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(self._process, self._lines), daemon=True).start()

    def start(self) -> None:
        """Start the process and wait until it says that it is ready.

        Raises
        ------
        GatewayError
            When it ends first, or is not ready in time.
        """
        began = time.monotonic()
        self.launch()
        while True:
            try:
                line = self._lines.get(timeout=_START_TIMEOUT - (time.monotonic() - began))
            except (queue.Empty, ValueError):
                self.kill()
                raise GatewayError(f"Not ready after {_START_TIMEOUT:.0f} s:\n{self.log_tail()}") from None
            if line is None:
                code = self._running().wait()
                raise GatewayError(f"Ended with exit code {code}:\n{self.log_tail()}")
            if line.startswith("ready:"):
                self.seconds_to_ready = time.monotonic() - began
                return

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise GatewayError(
                f"SIGTERM did not end it in {_STOP_TIMEOUT:.0f} s:\n{self.log_tail()}"
            ) from None

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        process = self._running()
        process.kill()
        process.wait()

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return "(no log)"

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ValueError("the gateway was never started")
        return self._process


def _forward(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Hand on each line of standard output, then None at its end."""
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put(None)


def free_port() -> int:
    """Find a TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
