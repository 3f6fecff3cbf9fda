"""Read files and folders without a network: the same decisions, findings and objects as the gateway's."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydicom import FileDataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxr_pacs.errors import EvidenceError, kind_and_place
from cxr_pacs.evidence import ReadInstance, ReportedStudy
from cxr_pacs.gateway.reading import Beside, Reader, Reading
from cxr_pacs.gateway.service import open_engine
from cxr_pacs.radiograph import Decision, Outcome
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

logger = logging.getLogger(__name__)

ALL_READ, ERROR, SOME_NOT_READ = 0, 1, 3


@dataclass(slots=True, kw_only=True)
class _Line:
    """One file's outcome, as it is printed."""

    path: Path
    reading: Reading
    heatmaps: list[Path] = field(default_factory=list)
    objects: list[Path] = field(default_factory=list)
    error: str | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder read whole")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the objects made")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML); else the defaults")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(options: argparse.Namespace) -> int:
    """Read everything; 0 when all was read, 3 when some was skipped or held, 1 on an error."""
    settings = load_settings(options.config) if options.config else Settings()
    missing = [path for path in options.paths if not path.exists()]
    if missing:
        print(f"cxr-pacs: {missing[0]}: no such file or folder", file=sys.stderr)
        return ERROR
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cxr-pacs: --out: cannot make {options.out}: {error.strerror}", file=sys.stderr)
        return ERROR
    lines = _analyse(settings, list(_files(options.paths)), options.out)
    if options.json:
        print(json.dumps({"instances": [_document(line) for line in lines]}, indent=1))
    else:
        _print_table(lines)
    if any(line.error for line in lines):
        return ERROR
    read = all(line.reading.decision.outcome is Outcome.ACCEPT for line in lines)
    return ALL_READ if read else SOME_NOT_READ


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file())
        else:
            yield path


def _analyse(settings: Settings, files: Sequence[Path], out: Path) -> list[_Line]:
    reader = Reader(settings, open_engine(settings))
    now = time.time()
    lines = [_read(reader, path, out, now) for path in files]
    by_study = sorted((line for line in lines if line.reading.findings is not None), key=_study)
    for _, group in itertools.groupby(by_study, key=_study):
        _report_study(reader, list(group), out, now)
    return lines


def _read(reader: Reader, path: Path, out: Path, now: float) -> _Line:
    try:
        reading = reader.read(path, now)
    except OSError as error:
        unread = Decision(outcome=Outcome.HOLD, rung="file", reason=f"Cannot be read: {error.strerror}.")
        return _Line(path=path, reading=Reading(decision=unread), error=unread.reason)
    except Exception as error:  # noqa: BLE001  whatever it was, the other files are read
        failed = Decision(outcome=Outcome.HOLD, rung="failure", reason=f"Failed: {kind_and_place(error)}.")
        return _Line(path=path, reading=Reading(decision=failed), error=failed.reason)
    if reading.heatmap is None:
        return _Line(path=path, reading=reading)
    # A folder may be large: the pictures go to the disk at once.
    _tell_left_out(path, reading.beside)
    made = (reading.heatmap, *reading.beside.objects)
    written = [_write(one, out) for one in made]
    pictures = zip(made, written, strict=True)
    return _Line(
        path=path,
        reading=replace(reading, heatmap=None, beside=Beside()),
        heatmaps=[path for one, path in pictures if one.SOPClassUID == SecondaryCaptureImageStorage],
        objects=written,
    )


def _tell_left_out(path: Path, beside: Beside) -> None:
    for reason in beside.left_out:
        logger.warning("%s: left out: %s", path, reason)


def _study(line: _Line) -> str:
    header = line.reading.header
    return "" if header is None else str(header.StudyInstanceUID)


def _report_study(reader: Reader, lines: list[_Line], out: Path, now: float) -> None:
    # Of two copies of one image the report speaks once.
    instances = {
        str(reading.header.SOPInstanceUID): ReadInstance(
            header=reading.header, findings=reading.findings, quality=reading.quality
        )
        for reading in (line.reading for line in lines)
        if reading.header is not None and reading.findings is not None
    }
    pictures = dict.fromkeys(path for line in lines for path in line.heatmaps)
    heatmaps = tuple(dcmread(path, stop_before_pixels=True) for path in pictures)
    try:
        report = reader.report(list(instances.values()), heatmaps, (), now)
    except EvidenceError as error:
        for line in lines:
            line.error = str(error)
        return
    study = ReportedStudy(instances=tuple(instances.values()), heatmaps=heatmaps, document=report)
    beside = reader.beside_report(study, {}, now)
    _tell_left_out(lines[0].path, beside)
    documents = [_write(made, out) for made in (report, *beside.objects)]
    for line in lines:
        line.objects += documents


def _write(made: FileDataset, out: Path) -> Path:
    """Write an object under its UID; what is there stays, since the same UID means the same findings."""
    target = out / f"{made.Modality}-{made.SOPInstanceUID}.dcm"
    if not target.exists():
        partial = target.with_suffix(".part")
        made.save_as(partial, enforce_file_format=True)
        partial.replace(target)
    return target


def _document(line: _Line) -> dict[str, Any]:
    reading = line.reading
    scores: dict[str, dict[str, float]] = {}
    for score in reading.findings.scores if reading.findings else ():
        scores.setdefault(score.head, {})[score.label] = round(score.score, 6)
    withheld: dict[str, dict[str, str]] = {}
    for one in reading.findings.withheld if reading.findings else ():
        withheld.setdefault(one.head, {})[one.label] = one.reason
    return {
        "path": str(line.path),
        "sop_instance_uid": str(reading.header.get("SOPInstanceUID", "")) if reading.header else None,
        "decision": reading.decision.outcome.value,
        "rung": reading.decision.rung,
        "reason": reading.decision.reason,
        "scores": scores,
        "withheld": withheld,
        "quality": list(reading.quality),
        "objects": [str(path) for path in line.objects],
    }


def _print_table(lines: Sequence[_Line]) -> None:
    table = Table(title="AI-derived, not a diagnosis", title_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("decision")
    table.add_column("rung", overflow="fold")
    table.add_column("reason, or scores", overflow="fold", ratio=1)
    for line in lines:
        decision = line.reading.decision
        colour = {Outcome.ACCEPT: "green", Outcome.SKIP: "dim", Outcome.HOLD: "yellow"}[decision.outcome]
        said = decision.reason + _scores(line.reading)
        error = f"\n[red]{escape(line.error)}[/red]" if line.error else ""
        table.add_row(
            escape(line.path.name),
            f"[{colour}]{decision.outcome}[/{colour}]",
            escape(decision.rung),
            escape(said) + error,
        )
    # A table that is not looked at by a terminal is read by a file: let it be wide enough.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _scores(reading: Reading) -> str:
    findings = reading.findings
    if findings is None:
        return ""
    heads = dict.fromkeys(score.head for score in findings.scores)
    told = [
        f"{head}: " + ", ".join(f"{s.label} {s.score:.0%}" for s in findings.head(head)) for head in heads
    ]
    withheld = [f"{one.head}: {one.label} withheld. {one.reason}" for one in findings.withheld]
    return "".join(f"\n{line}" for line in (*told, *withheld, *reading.quality))
