"""How many queries a second a worklist answers: ours with 100,000 items, two others with 1,000.

The query of a day: modality, date and station AE title, about 50 answers with the attributes of a usual
modality. DCMTK's findscu asks all three, one query after the other on one association, in turns; it sends
without Nagle's delay. Everything runs on this machine. ``python -m benchmarks.worklist --help``. The exit
status is 1 where another answers more queries a second than we, or where our memory grows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]
from rich.console import Console
from rich.table import Table

from cxr_pacs.worklist import WorklistItem, open_worklist, tables
from demo.gateway import free_port
from demo.orthanc import Orthanc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DAY_SIZE = 100  # items of a day
_ANSWERS = 50  # of them on the station that asks
_FIRST_DAY = date(2026, 1, 1)
_STATIONS = (("DX1", "DX"), ("CR1", "CR"))
_PLUGIN = "/usr/share/orthanc/plugins/libModalityWorklists.so"
_TITLE = "WORKLIST"
_FLAT = 10.0  # MiB that resident memory may grow by, from the first queries to the last

console = Console(highlight=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that is asked."""

    name: str
    items: int
    ae_title: str
    port: int
    pid: int


def item(number: int) -> Dataset:
    """One of a hundred items a day, half of them for each station."""
    station, modality = _STATIONS[number % len(_STATIONS)]
    order, step = Dataset(), Dataset()
    order.SpecificCharacterSet = "ISO_IR 100"
    order.AccessionNumber = f"A{number:08}"
    order.PatientName = f"Doe{number:08}^John"
    order.PatientID = f"P{number:08}"
    order.PatientBirthDate, order.PatientSex = "19700101", "M"
    order.ReferringPhysicianName = order.RequestingPhysician = "Physician^Pat"
    order.StudyInstanceUID = f"1.2.3.1{number:08}"
    order.RequestedProcedureID = f"R{number:08}"
    order.RequestedProcedureDescription = step.ScheduledProcedureStepDescription = "Chest PA"
    step.ScheduledProcedureStepID = f"S{number:08}"
    step.ScheduledStationAETitle, step.Modality = station, modality
    step.ScheduledProcedureStepStartDate = f"{_FIRST_DAY + timedelta(number // _DAY_SIZE):%Y%m%d}"
    step.ScheduledProcedureStepStartTime = f"{7 + number % 12:02}{number % 60:02}00"
    step.ScheduledPerformingPhysicianName = "Performer^Pat"
    step.ScheduledStationName, step.ScheduledProcedureStepLocation = "R1", "Floor 1"
    order.ScheduledProcedureStepSequence = [step]
    return order


def a_days_query() -> Dataset:
    """Make the identifier: the first day, station DX1, all attributes of an item asked back."""
    asked = item(0)
    for where in (asked, asked.ScheduledProcedureStepSequence[0]):
        for element in where:
            if element.VR != "SQ":
                element.value = None
    step = asked.ScheduledProcedureStepSequence[0]
    (step.ScheduledStationAETitle, step.Modality), *_ = _STATIONS
    step.ScheduledProcedureStepStartDate = f"{_FIRST_DAY:%Y%m%d}"
    del asked.SpecificCharacterSet
    return asked


def write(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file in the form of worklists."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, dataset, file_meta=meta, preamble=b"\0" * 128)
    file.save_as(path, enforce_file_format=True)


def fill(connection: sa.Connection, many: int) -> None:
    """Copy the items of the first day to all others, with numbers and dates of their own."""
    for table in (tables.item, tables.station, tables.name):
        rows = [row._asdict() for row in connection.execute(sa.select(table))]
        for day in range(1, many // _DAY_SIZE):
            connection.execute(sa.insert(table), [_on_day(row, day) for row in rows])


def _on_day(row: dict[str, Any], day: int) -> dict[str, Any]:
    key = "id" if "id" in row else "item_id"
    number = row[key] - 1  # they were put in their order
    texts = (
        (f"{number:08}", f"{number + day * _DAY_SIZE:08}"),
        (f"{_FIRST_DAY:%Y%m%d}", f"{_FIRST_DAY + timedelta(day):%Y%m%d}"),
    )
    copied = dict(row)
    for column, value in row.items():
        for old, new in texts:
            if isinstance(value, str):
                copied[column] = copied[column].replace(old, new)
            elif isinstance(value, bytes):
                copied[column] = copied[column].replace(old.encode(), new.encode())
    return {**copied, key: row[key] + day * _DAY_SIZE}


@contextmanager
def ours(folder: Path, many: int) -> Iterator[Server]:
    """``cxr-pacs worklist serve`` over SQLite."""
    spool = folder / "spool"
    spool.mkdir(parents=True)
    worklist = open_worklist(f"sqlite:///{spool / 'ledger.sqlite'}")
    with worklist.begin() as connection:
        first = (WorklistItem.of(item(number)) for number in range(_DAY_SIZE))
        worklist.put(connection, first, "benchmark", 0.0)
        fill(connection, many)
    worklist.engine.dispose()
    port = free_port()
    config = folder / "config.toml"
    config.write_text(
        f'[dicom]\nae_title = "{_TITLE}"\nport = {port}\n[spool]\npath = "{spool}"\n', encoding="utf-8"
    )
    command = [sys.executable, "-m", "cxr_pacs", "worklist", "serve", "--config", str(config)]
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    if process.stdout is None or not process.stdout.readline():
        raise SystemExit((folder / "log").read_text(encoding="utf-8"))
    console.print(f"start to ready {time.monotonic() - began:.1f} s")
    try:
        yield Server(name="cxr-pacs", items=many, ae_title=_TITLE, port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def wlmscpfs(folder: Path, many: int) -> Iterator[Server]:
    """DCMTK's server over a folder of files."""
    held = folder / "wlmscpfs" / _TITLE
    held.mkdir(parents=True)
    for number in range(many):
        write(item(number), held / f"{number:05}.wl")
    (held / "lockfile").touch()
    port = free_port()
    process = subprocess.Popen(
        ["wlmscpfs", "--data-files-path", str(held.parent), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Server(name="wlmscpfs", items=many, ae_title=_TITLE, port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait(30)


class _OrthancWorklist(Orthanc):
    def __init__(self, folder: Path, held: Path) -> None:
        super().__init__(folder, modalities={"findscu": ("FINDSCU", free_port())})
        self._held = held

    def _configuration(self) -> dict[str, object]:
        worklists = {"Enable": True, "Database": str(self._held), "FilterIssuerAet": False}
        return super()._configuration() | {"Plugins": [_PLUGIN], "Worklists": worklists}

    @property
    def pid(self) -> int:
        """Of the process."""
        return -1 if self._process is None else self._process.pid


@contextmanager
def orthanc(folder: Path, many: int) -> Iterator[Server]:
    """Orthanc's plugin over the same files."""
    held = folder / "wlmscpfs" / _TITLE
    with _OrthancWorklist(folder / "orthanc", held) as server:
        yield Server(
            name="Orthanc's plugin", items=many, ae_title=server.ae_title, port=server.port, pid=server.pid
        )


def ask(server: Server, query: Path, times: int) -> float:
    """Seconds that `times` queries take; each is checked for its answers."""
    program = shutil.which("findscu")
    if program is None:
        raise SystemExit("findscu is missing: apt-get install dcmtk")
    command = [program, "-W", "-aec", server.ae_title, "--repeat", str(times)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "127.0.0.1", str(server.port), str(query)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    seconds = time.monotonic() - began
    answers = done.stdout.count(b"Find Response")
    if answers != times * _ANSWERS:
        raise SystemExit(f"{server.name} gave {answers} answers to {times} queries of {_ANSWERS} each")
    return seconds


def resident(server: Server) -> float:
    """Resident memory, MiB; wlmscpfs has a process for each association."""
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one server did: queries a second; resident memory after its first queries and its last, MiB."""

    rate: float
    before: float
    after: float


def measure(servers: Sequence[Server], query: Path, rounds: int, times: int) -> list[Measured]:
    """Ask all in turns; the rate is that of the median round."""
    for server in servers:
        ask(server, query, times)
    before = [resident(server) for server in servers]
    seconds: list[list[float]] = [[] for _ in servers]
    for _ in range(rounds):
        for server, taken in zip(servers, seconds, strict=True):
            taken.append(ask(server, query, times) / times)
    return [
        Measured(rate=1 / statistics.median(taken), before=memory, after=resident(server))
        for server, taken, memory in zip(servers, seconds, before, strict=True)
    ]


def shown(servers: Sequence[Server], measured: Sequence[Measured]) -> Table:
    """Put them side by side."""
    table = Table("server", "items", "queries a second", "median, ms", "resident before, MiB", "after, MiB")
    for server, one in zip(servers, measured, strict=True):
        table.add_row(
            server.name,
            f"{server.items}",
            f"{one.rate:.1f}",
            f"{1000 / one.rate:.1f}",
            f"{one.before:.0f}",
            f"{one.after:.0f}",
        )
    return table


def faults(us: Measured, others: Sequence[Measured]) -> list[str]:
    """Say what is not as it should be."""
    found = []
    if us.rate < max(one.rate for one in others):
        found.append("another server answers more queries a second")
    if us.after - us.before > _FLAT:
        found.append(f"memory grew by {us.after - us.before:.0f} MiB, of {_FLAT:.0f} allowed")
    return found


def main() -> None:
    """Measure and print; exit status 1 where we are slower than another, or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=100_000, help="of ours")
    parser.add_argument("--items-of-others", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--queries", type=int, default=20, help="in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        query = folder / "query.dcm"
        write(a_days_query(), query)
        servers = (
            stack.enter_context(ours(folder, options.items)),
            stack.enter_context(wlmscpfs(folder, options.items_of_others)),
            stack.enter_context(orthanc(folder, options.items_of_others)),
        )
        measured = measure(servers, query, options.rounds, options.queries)
    console.print(shown(servers, measured))
    found = faults(measured[0], measured[1:])
    for fault in found:
        console.print(f"[red]{fault}[/red]")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
