"""The gateway in forked processes that count their durable steps, and end right after a given one.

A durable step is what a disk or a peer will remember: a commit that wrote rows, whosever they are, a file or
folder brought to the disk, a name given to a file, a DIMSE message sent or received. Each is known by what it
is and how often that had been: where threads work side by side, its place among all the others may differ
between two lives.

The processes are forked from one that has imported everything, so that a life begins in no time.
"""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF
from sqlalchemy.engine.default import DefaultDialect

from cxr_pacs.cli import main, serve
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.radiograph import decodable_transfer_syntaxes

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["Life", "LifeSettings", "fork_lives"]

_FORKS = multiprocessing.get_context("forkserver")
_WRITE = re.compile(r"\s*(INSERT|UPDATE|DELETE)\s+(?:INTO\s+|FROM\s+)?\"?(?:main\.)?(\w+)", re.IGNORECASE)
_NO_DATA_SET = 0x0101  # PS3.7 E.1, Command Data Set Type
_START_SECONDS = 120.0

# Tried once, here, for all lives.
decodable_transfer_syntaxes()


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeSettings:
    """What one life is told.

    Attributes
    ----------
    config, log : Path
        Settings file, and where its standard error goes.
    spool : Path
        Files under it are counted.
    trail : Path
        Gets a line for each durable step.
    received_at : float
        When every instance comes, in seconds since the epoch; all times in objects follow from it.
    last : str or None
        Line of the trail after which the process ends.
    """

    config: Path
    log: Path
    spool: Path
    trail: Path
    received_at: float
    last: str | None = None


class Life:
    """A process that serves, from its readiness to its end, however that comes."""

    def __init__(self, settings: LifeSettings) -> None:
        self._readiness, announce = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_live, args=(settings, announce), daemon=True)
        self._announce = announce

    def __enter__(self) -> Self:
        self._process.start()
        self._announce.close()
        assert self._readiness.poll(_START_SECONDS)
        self._readiness.recv_bytes()  # EOFError where it ended before
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._readiness.close()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return not self._process.is_alive()

    def stop(self) -> int | None:
        """End it in order; its exit code."""
        self._process.terminate()
        self._process.join(_START_SECONDS)
        return self._process.exitcode


def fork_lives() -> None:
    """Start the process that has imported this module, and that all lives are forked from."""
    _FORKS.set_forkserver_preload(["pytest", __name__])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()


class _Steps:
    """Counts steps from `begin` on."""

    def __init__(self, trail: Path, last: str | None) -> None:
        self._trail = os.open(trail, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._last = last
        self._counts: Counter[str] = Counter()
        self._begun = False
        self._counting = threading.Lock()

    def begin(self) -> None:
        self._begun = True

    def __call__(self, what: str) -> None:
        with self._counting:
            if not self._begun:
                return
            self._counts[what] += 1
            line = f"{what} #{self._counts[what]}"
            os.write(self._trail, f"{line}\n".encode())
            if line == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


class _Announcer(io.TextIOBase):
    """Standard output: counting begins when the process says that it is ready."""

    def __init__(self, steps: _Steps, announce: Connection) -> None:
        self._steps = steps
        self._announce = announce

    def write(self, text: str) -> int:
        if text.startswith("ready:"):
            self._steps.begin()
            self._announce.send_bytes(b"ready")
        return len(text)


def _live(settings: LifeSettings, announce: Connection) -> None:
    os.dup2(os.open(settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    steps = _Steps(settings.trail, settings.last)
    sys.stdout = _Announcer(steps, announce)
    _count_files(steps, settings.spool)
    _count_commits(steps)
    _count_messages(steps)
    _fix_arrivals(settings.received_at)
    serve.open_engine = lambda _: BrightEngine()
    sys.exit(main(["serve", "--config", str(settings.config)]))


def _fix_arrivals(received_at: float) -> None:
    """Let all that comes have come at one moment, from which the ledger pins every time in an object."""
    add_arrival = Ledger.add_arrival

    def at_that_moment(self: Ledger, connection: sa.Connection, arrival: Any) -> int | None:
        return add_arrival(self, connection, dataclasses.replace(arrival, received_at=received_at))

    Ledger.add_arrival = at_that_moment


def _count_files(step: Callable[[str], None], spool: Path) -> None:
    def counted(name: str, place: Callable[..., str | Path]) -> None:
        act = getattr(os, name)

        def acting(*arguments: Any, **options: Any) -> Any:
            where = Path(place(*arguments))
            done = act(*arguments, **options)
            if where.is_relative_to(spool):
                top, *below = where.relative_to(spool).parts or (".",)
                step("/".join((f"{name} {top}", *("*" for _ in below))))
            return done

        setattr(os, name, acting)

    counted("fsync", lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink())
    for name in ("replace", "rename", "link"):
        counted(name, lambda _source, target: target)


def _count_commits(step: Callable[[str], None]) -> None:
    """Count the commits of every engine, ours and that of DBOS, by which rows changed."""

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def note(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if write := _WRITE.match(statement):
            said = f"{write[1].upper()} {write[2]}"
            connection.info.setdefault("written", {})[said] = None

    do_commit = DefaultDialect.do_commit

    def committing(self: DefaultDialect, connection: Any) -> None:
        written, rows = connection.info.pop("written", {}), connection.dbapi_connection.total_changes
        do_commit(self, connection)
        before = connection.info.get("rows", 0)
        connection.info["rows"] = rows
        if rows > before:
            step(f"commit {', '.join(written)}")

    DefaultDialect.do_commit = committing


def _count_messages(step: Callable[[str], None]) -> None:
    """Count a message when its last byte was given to the network, or when all of it has come."""
    trigger, sending = evt.trigger, {}

    def triggered(association: Any, event: Any, attributes: Any = None) -> Any:
        if event is evt.EVT_DIMSE_SENT:
            sending[association] = attributes["message"]
        answer = trigger(association, event, attributes)
        if event is evt.EVT_DIMSE_RECV:
            step(f"received {_named(attributes['message'])}")
        if event is evt.EVT_PDU_SENT and isinstance(attributes["pdu"], P_DATA_TF):
            message, pdu = sending[association], attributes["pdu"]
            with_data = message.command_set.CommandDataSetType != _NO_DATA_SET
            # PS3.8 E.2: the last fragment, of the data set or of the command
            end = "00000010" if with_data else "00000011"
            if pdu.presentation_data_value_items[-1].message_control_header_byte == end:
                step(f"sent {_named(message)}")
        return answer

    evt.trigger = triggered


def _named(message: Any) -> str:
    sop_class = UID(message.command_set.get("AffectedSOPClassUID", ""))
    return f"{type(message).__name__} {sop_class.name}".strip()
