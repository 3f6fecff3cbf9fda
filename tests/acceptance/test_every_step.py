"""Kill -9 after every durable step of one study, each in its turn: always the same bytes in the archive."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from committing import CommittingArchive
from peers import (
    Archive,
    Destination,
    Gateway,
    GatewaySettings,
    associated,
    c_store,
    eventually,
    free_port,
)
from peers import request as request_for
from stepwise_gateway import Life, LifeSettings, fork_lives
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from pathlib import Path

    from peers import Request

AT_ONCE = 4
# A step that all of so many lives take must be the last of another, which is tried so often.
WHOLE_LIVES = 3
ATTEMPTS = 5
# How many of these it takes to hand out the work depends on how much of it is found at once.
HANDED_OUT = "commit UPDATE workflow_status"
# From the arrival, as it is dated, to the report.
QUIET_SECONDS = 0.5
_DONE = {
    "SELECT decision, reported FROM instance": [("accept", 1)],
    "SELECT state FROM delivery": [("delivered",), ("delivered",)],
    "SELECT 1 FROM commitment_transaction WHERE state <> 'closed'": [],
    "SELECT 1 FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')": [],
}
_COMMITTED = {"SELECT state FROM commitment": [("committed",), ("committed",)]}


class LeisurelyArchive(CommittingArchive):
    """An archive that reports a moment after it was asked, and bears the gateway's death meanwhile."""

    def report(self, request, failed=None, *, roles=True):
        time.sleep(0.3)
        # Where the gateway has ended for good, nobody listens; what it was told is read in its ledger.
        with suppress(TimeoutError):
            super().report(request, failed, roles=roles)

    def _send(self, association, asked, failed):
        with suppress(RuntimeError):
            super()._send(association, asked, failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is left when a study is done.

    Attributes
    ----------
    steps : tuple of str
        What the first life did.
    died : bool
        Whether it ended before the study did.
    held : Counter
        Modality, UID and SHA-256 of the bytes of each object in the archive.
    spool : Counter
        Number of files in each folder of the spool.
    """

    steps: tuple[str, ...]
    died: bool
    held: Counter[tuple[str, str, str]]
    spool: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One radiograph, when it comes, whether the archive commits, and a spool in which nothing is yet."""

    wanted: Request
    received_at: float
    committed: bool
    empty: Path

    def lead_through(self, folder: Path, last: str | None) -> Ended:
        """Have it reported by a gateway that dies after the step `last`, and by its successor."""
        shutil.copytree(self.empty, folder / "spool")
        port = free_port()
        archive = (
            LeisurelyArchive(folder / "archive", reports="new", client=(Gateway.ae_title, port))
            if self.committed
            else Archive(folder / "archive")
        )
        with archive:
            self.configure(folder, port, archive)
            with Life(self.life(folder, "first", last)) as life:
                taken = _taken(port, self.wanted)
                eventually(lambda: life.ended or self._done(folder))
                died = life.ended
            if died:
                with Life(self.life(folder, "second", None)):
                    assert taken or _taken(port, self.wanted)
                    eventually(lambda: self._done(folder))
            assert archive.conflicts == []
            held = Counter((i.modality, i.sop_instance_uid, i.digest) for i in archive.instances)
        steps = (folder / "first").read_text(encoding="utf-8").splitlines()
        assert not died or steps[-1] == last, (folder / "gateway.log").read_text(encoding="utf-8")
        return Ended(steps=tuple(steps), died=died, held=held, spool=_files(folder / "spool"))

    def configure(self, folder: Path, port: int, archive: Archive) -> None:
        """Write the settings: the quiet period ends soon, though it began when the image is dated."""
        folder.mkdir(exist_ok=True)
        settings = GatewaySettings(
            folder=folder,
            port=port,
            destinations=(
                Destination(
                    name="archive", ae_title=archive.ae_title, port=archive.port, commitment=self.committed
                ),
            ),
            tables={
                "study": {
                    "quiet_period": time.time() - self.received_at + QUIET_SECONDS,
                    "longest_wait": 86400.0,
                },
                "delivery": {"first_retry": 0.2, "longest_retry": 1.0},
                "commitment": {"gather": 0.3, "wait": 0.0, "report_within": 3.0},
            },
        )
        (folder / "cxr-pacs.toml").write_text(settings.toml(), encoding="utf-8")

    def life(self, folder: Path, trail: str, last: str | None) -> LifeSettings:
        return LifeSettings(
            config=folder / "cxr-pacs.toml",
            log=folder / "gateway.log",
            spool=folder / "spool",
            trail=folder / trail,
            received_at=self.received_at,
            last=last,
        )

    def _done(self, folder: Path) -> bool:
        """Whether ledger and DBOS say that nothing more will happen."""
        ledger = f"file:{folder / 'spool' / 'ledger.sqlite'}?mode=ro"
        expected = _DONE | (_COMMITTED if self.committed else {})
        with closing(sqlite3.connect(ledger, uri=True, timeout=30)) as connection:
            return all(connection.execute(query).fetchall() == rows for query, rows in expected.items())


def _taken(port: int, wanted: Request) -> bool:
    """Send once, as a modality does, and tell whether success was answered."""
    with (
        suppress(RuntimeError),
        associated(port, [(wanted.sop_class_uid, wanted.transfer_syntax_uid)]) as association,
    ):
        return association.is_established and c_store(association, wanted) == 0x0000
    return False


def _files(spool: Path) -> Counter[str]:
    paths = (path.relative_to(spool).parts for path in spool.rglob("*") if path.is_file())
    return Counter(parts[0] for parts in paths if len(parts) == 3)


@pytest.fixture(params=[False, True], ids=["stored", "stored and committed"])
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Study:
    """The study, after a gateway has made its tables in an empty spool."""
    fork_lives()
    first = tmp_path / "0"
    arriving = Study(
        wanted=request_for(new_radiograph()),
        received_at=time.time(),
        committed=request.param,
        empty=first / "spool",
    )
    arriving.configure(first, free_port(), Archive(tmp_path / "none", port=free_port()))
    with Life(arriving.life(first, "trail", None)) as life:
        assert life.stop() == 0, (first / "gateway.log").read_text(encoding="utf-8")
    return arriving


@pytest.mark.timeout(900)
def test_whatever_step_was_the_last_the_archive_holds_the_same(tmp_path: Path, study: Study):
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as lives:
        wholes = list(
            lives.map(
                lambda number: study.lead_through(tmp_path / f"whole{number}", None), range(WHOLE_LIVES)
            )
        )
        whole = wholes[0]
        assert not any(one.died for one in wholes)
        assert Counter(modality for modality, *_ in whole.held.elements()) == ONE_OF_EACH
        assert whole.spool == {"originals": 1, "results": 2}
        ended = list(
            lives.map(
                lambda numbered: _killed_after(study, tmp_path / str(numbered[0]), numbered[1]),
                enumerate(whole.steps, 1),
            )
        )
    killed_after = {one.steps[-1] for one in ended if one.died}
    print(*whole.steps, sep="\n")  # noqa: T201
    print(  # noqa: T201
        f"{len(whole.steps)} steps, killed after {len(killed_after)}, in {time.monotonic() - began:.0f} s"
    )
    assert [(one.held, one.spool) for one in (*wholes, *ended)] == [(whole.held, whole.spool)] * (
        len(wholes) + len(ended)
    )
    always = set.intersection(*(set(one.steps) for one in wholes))
    missed = {step for step in always - killed_after if not step.startswith(f"{HANDED_OUT} #")}
    assert missed == set()
    assert f"{HANDED_OUT} #1" in killed_after


def _killed_after(study: Study, folder: Path, step: str) -> Ended:
    """Try to reach a step that may not be taken in every order of events."""
    for attempt in range(ATTEMPTS):
        ended = study.lead_through(folder / str(attempt), step)
        if ended.died:
            break
    return ended
