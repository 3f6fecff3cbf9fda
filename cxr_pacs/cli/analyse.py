"""Read files and folders without a network: the same decisions, findings and objects as the gateway's."""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from cxr_pacs.cli.analyse_output import FEW, print_few, print_many, write_json
from cxr_pacs.cli.progress import progress
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable
from cxr_pacs.gateway.bulk.journal import Journal, Listed
from cxr_pacs.gateway.bulk.objects import remove_leftovers, replacing
from cxr_pacs.gateway.bulk.once import accepted_once
from cxr_pacs.gateway.bulk.outcome import FileOutcome, StudyOutcome
from cxr_pacs.gateway.bulk.studies import write_studies
from cxr_pacs.gateway.bulk.tables import CSV, ResultTable, identity_of, no_identity, require_parquet
from cxr_pacs.gateway.bulk.task import BulkTask
from cxr_pacs.gateway.bulk.workers import Processes, RayWorkers, Threads, Workers, in_flight
from cxr_pacs.gateway.media import Media
from cxr_pacs.gateway.service import open_engine
from cxr_pacs.inference import bundled, load_bundle
from cxr_pacs.radiograph import Outcome
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

ALL_READ, ERROR, SOME_NOT_READ, INTERRUPTED = 0, 1, 3, 130

_LARGEST_BATCH = 16  # on a GPU


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a file, a folder read whole, a ZIP, or a DICOMDIR",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the objects made")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML); else the defaults")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="the table of results as Parquet too")
    parser.add_argument(
        "--studies",
        action="store_true",
        help="a folder for each study too, as watch makes it: objects, a PNG of each heatmap, study.json",
    )
    parser.add_argument(
        "--identity", action="store_true", help="Patient ID, accession number and study date in the tables"
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="read PNG and JPEG too, for research: no DICOM is made of them",
    )
    spread = parser.add_mutually_exclusive_group()
    spread.add_argument("--jobs", type=_count, metavar="N", help="files at once; else one for each processor")
    spread.add_argument(
        "--processes", type=_count, metavar="N", help="as many processes, each with a model: faster on a CPU"
    )
    spread.add_argument("--ray", metavar="ADDRESS", help="spread the work over this Ray cluster")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run(options: argparse.Namespace) -> int:
    """Read everything; 0 when all was read, 3 when some was skipped or held, 1 on an error, 130 on Ctrl-C."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except (OSError, sqlite3.Error, DestinationUnavailable, DeliveryRefused) as error:
        print(f"cxr-pacs: --out: {options.out} does not take the results: {error}", file=sys.stderr)
        return ERROR


def _run(options: argparse.Namespace) -> int:
    settings = load_settings(options.config) if options.config else Settings()
    if options.parquet:
        require_parquet()
    missing = [path for path in options.paths if not path.exists()]
    if missing:
        print(f"cxr-pacs: {missing[0]}: no such file or folder", file=sys.stderr)
        return ERROR
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cxr-pacs: --out: cannot make {options.out}: {error.strerror}", file=sys.stderr)
        return ERROR
    console = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        task, workers = _workers(options, settings, stack)
        journal = stack.enter_context(Journal(options.out, task.digest))
        remove_leftovers(options.out)
        media = Media(options.paths, options.out)
        _tell_listed(console, journal.begin(media), media)
        with _stopping() as stopped:
            _read_all(console, journal, workers, stopped, options.out)
            if not stopped():
                _report_all(console, journal, workers, stopped)
            if stopped():
                _tell_stopped(console, journal)
                return INTERRUPTED
        if isinstance(workers, RayWorkers):
            console.print(f"{workers.nodes} nodes took part.")
        return _tell_results(options, journal)


def _workers(options: argparse.Namespace, settings: Settings, stack: ExitStack) -> tuple[BulkTask, Workers]:
    now = time.time()
    if options.ray or options.processes:
        model = load_bundle(bundled(settings.model.bundle)).identity
        task = BulkTask.of(settings, model, options.out, now, pictures=options.pictures)
        if options.ray:
            return task, stack.enter_context(RayWorkers(options.ray, task))
        return task, stack.enter_context(Processes(task, options.processes))
    engine = open_engine(settings, _LARGEST_BATCH)
    task = BulkTask.of(settings, engine.identity, options.out, now, pictures=options.pictures)
    count = options.jobs or len(os.sched_getaffinity(0))
    return task, stack.enter_context(Threads(task.reader(engine), count))


def _tell_listed(console: Console, listed: Listed, media: Media) -> None:
    if listed.done:
        console.print(f"{listed.done:,} of {listed.files:,} were done before.")
    if listed.otherwise:
        console.print(
            f"{listed.otherwise:,} of {listed.files:,} were done with another model or other settings: "
            "they are read again."
        )
    for reason, count in media.left_out.items():
        if count:
            console.print(f"{count:,} left out: {reason}.")


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Take Ctrl-C for a wish to stop soon; a second one ends at once, which harms nothing either."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _read_all(
    console: Console, journal: Journal, workers: Workers, stopped: Callable[[], bool], out: Path
) -> None:
    count = journal.count_undone()
    if count:
        lost = functools.partial(FileOutcome.failed, "failure")
        read = in_flight(workers.read, workers.at_once, journal.undone(), stopped, lost)
        with progress(console, "reading", count) as advance:
            for number, outcome in read:
                journal.record(number, accepted_once(outcome, journal, out))
                advance()


def _report_all(console: Console, journal: Journal, workers: Workers, stopped: Callable[[], bool]) -> None:
    studies = journal.unreported()
    if studies:
        work = ((study, journal.images(study)) for study in studies)
        reported = in_flight(workers.report, workers.at_once, work, stopped, StudyOutcome.failed)
        with progress(console, "reporting", len(studies)) as advance:
            for study, outcome in reported:
                journal.record_report(study, outcome)
                advance()


def _tell_stopped(console: Console, journal: Journal) -> None:
    left = journal.count_undone()
    what = f"{left:,} files are left" if left else "some studies have no report yet"
    console.print(f"Stopped: {what}. The same command goes on from here.")


def _tell_results(options: argparse.Namespace, journal: Journal) -> int:
    table = ResultTable(journal.rows, identity_of if options.identity else no_identity)
    with replacing(options.out / CSV) as partial:
        table.write_csv(partial)
    if options.parquet:
        with replacing(options.parquet) as partial:
            table.write_parquet(partial)
    if options.studies:
        write_studies(journal, options.out)
    counts = journal.counts()
    if options.json:
        write_json(journal.rows(), options.out, sys.stdout)
    else:
        # A table that is not looked at by a terminal is read by a file: let it be wide enough.
        console = Console(width=None if sys.stdout.isatty() else 160)
        if sum(count.files for count in counts) <= FEW:
            print_few(console, journal.rows())
        else:
            print_many(console, counts, journal.rows)
            console.print(f"{CSV}, beside the objects, has a line for each file.")
    if journal.has_errors():
        return ERROR
    return ALL_READ if all(count.decision == Outcome.ACCEPT for count in counts) else SOME_NOT_READ
