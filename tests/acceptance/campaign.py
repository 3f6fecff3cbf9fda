"""A campaign: studies arrive from several modalities while processes die; in the end all is accounted for."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from peers import (
    Destination,
    Gateway,
    GatewaySettings,
    associated,
    c_store,
    eventually,
    request,
)
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND

from cxr_pacs.gateway.trials import FATAL_TRIALS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peers import Orthanc, Request

STUDIES = int(os.environ.get("CXR_STUDIES", "500"))
KILLS = int(os.environ.get("CXR_KILLS", "20"))
SENDERS = 4
OBJECTS = ONE_OF_EACH.total()
"""That one study brings into the archive."""

# Seconds after which what does not come will not come.
PATIENCE = 180.0 + STUDIES
LIMIT = 3 * PATIENCE

# Of a modality; in truth it waits for minutes.
_RETRY = 0.3
_LEAD = 40
_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700


class Swift(Gateway):
    command = COMMAND


def settings(folder: Path, port: int, orthanc: Orthanc, **tables: dict[str, object]) -> GatewaySettings:
    """Of a process that sends to Orthanc and does not wait for long."""
    defaults: dict[str, dict[str, object]] = {
        "study": {"quiet_period": 0.3},
        "delivery": {"first_retry": 0.2, "longest_retry": 1.0},
    }
    return GatewaySettings(
        folder=folder,
        port=port,
        destinations=(Destination(name="orthanc", ae_title=orthanc.ae_title, port=orthanc.port),),
        tables=defaults | tables,
    )


class Modalities:
    """Four modalities, each with its share of the studies; what was not taken they send again.

    They do not hurry far ahead of the archive: so something is received, analysed, reported and delivered at
    every moment of the campaign.
    """

    def __init__(self, port: int, orthanc: Orthanc) -> None:
        radiographs = [new_radiograph() for _ in range(STUDIES)]
        self.studies = tuple(str(radiograph.StudyInstanceUID) for radiograph in radiographs)
        self.statuses: list[int | None] = []
        self._requests = [request(radiograph) for radiograph in radiographs]
        self._port = port
        self._orthanc = orthanc
        self._over = threading.Event()
        self._on_exit = ExitStack()

    def __enter__(self) -> Self:
        pool = self._on_exit.enter_context(ThreadPoolExecutor(SENDERS))
        self._on_exit.callback(self._over.set)
        self._sending = [
            pool.submit(self._send, f"MODALITY{number}", self._requests[number::SENDERS])
            for number in range(SENDERS)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._on_exit.close()

    @property
    def taken(self) -> int:
        """How many instances were answered with success."""
        return self.statuses.count(_SUCCESS)

    @property
    def progress(self) -> int:
        """How many instances were taken and how many objects the archive holds, both together."""
        return self.taken + self._orthanc.count

    def finish(self) -> None:
        """Wait until all is taken; nothing was refused for good, and nothing sent again that was taken."""
        for one in self._sending:
            one.result()
        assert set(self.statuses) <= {_SUCCESS, _OUT_OF_RESOURCES, None}
        assert self.taken == STUDIES

    def _send(self, calling: str, requests: Sequence[Request]) -> None:
        waiting = list(requests)
        contexts = [(one.sop_class_uid, one.transfer_syntax_uid) for one in waiting]

        def round_() -> bool:
            with ExitStack() as stack:
                association = None
                while waiting and not self._is_ahead():
                    if association is None:
                        association = stack.enter_context(associated(self._port, contexts, calling=calling))
                    if not association.is_established:
                        break
                    self.statuses.append(c_store(association, waiting[0]))
                    if self.statuses[-1] == _SUCCESS:
                        del waiting[0]
            return not waiting or self._over.is_set()

        eventually(round_, timeout=PATIENCE, every=_RETRY)

    def _is_ahead(self) -> bool:
        return self._over.is_set() or self.taken - self._orthanc.count // OBJECTS >= _LEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something dies.

    Attributes
    ----------
    progress : int
        When so many images were taken and objects archived, both counted together,
    pause : float
        and so many seconds have passed since.
    relapse : float or None
        The process that comes back dies as well, after this share of the time that a start takes.
    """

    progress: int
    pause: float
    relapse: float | None


def draw_faults(chance: random.Random) -> list[Fault]:
    """KILLS deaths from the first image to the last objects; every fifth is that of a process that starts."""
    relapses = KILLS // 5
    moments = sorted(chance.sample(range(1, STUDIES * (1 + OBJECTS) * 9 // 10), KILLS - relapses))
    relapsing = set(chance.sample(moments[:-1], relapses))
    return [
        Fault(
            progress=moment,
            pause=chance.uniform(0, 0.5),
            relapse=chance.random() if moment in relapsing else None,
        )
        for moment in moments
    ]


def await_fault(fault: Fault, modalities: Modalities, books: Books) -> None:
    """Return at the moment of the fault, or when no image would be blamed for it."""
    eventually(lambda: modalities.progress >= fault.progress, timeout=PATIENCE)
    threading.Event().wait(fault.pause)  # a random moment, not a condition
    eventually(lambda: books.most_trials() < FATAL_TRIALS - 2, timeout=PATIENCE)


def die_and_return(process: Gateway, fault: Fault) -> None:
    """Kill the process and start it again; with a relapse twice."""
    process.kill()
    if fault.relapse is not None:
        process.launch()
        threading.Event().wait(fault.relapse * process.seconds_to_ready)
        process.kill()
    process.start()


class Books:
    """What the ledger and DBOS say, and what lies in the spool; only read."""

    def __init__(self, url: str, spool: Path) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        self._spool = spool
        dbos = "dbos." if self._engine.dialect.name == "postgresql" else ""
        self._unfinished = (
            "SELECT id, decision, rung, reported FROM instance WHERE decision IS NULL OR NOT reported",
            "SELECT id, state, attempts, next_at, reason FROM delivery WHERE state <> 'delivered'",
            # One that failed has ended: the rows above tell whether all is well.
            f"SELECT workflow_uuid FROM {dbos}workflow_status WHERE status NOT IN ('SUCCESS', 'ERROR')",  # noqa: S608  one of two prefixes
            "SELECT * FROM trial",
        )

    def unfinished(self) -> list[str]:
        """What is still to be done, or did not end well."""
        return [str(row) for query in self._unfinished for row in self._rows(query)]

    def analysing(self) -> list[int]:
        """On PostgreSQL: how many analyses each process that has any is at."""
        query = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING' AND name = 'analyse'"
        return [int(count) for (count,) in self._rows(f"{query} GROUP BY executor_id")]

    def most_trials(self) -> int:
        """How often that analysis was begun which began most often and has not ended."""
        ((begun,),) = self._rows("SELECT coalesce(max(begun), 0) FROM trial")
        return int(begun)

    def check(self, studies: Sequence[str]) -> None:
        """Every instance accepted, reported and delivered; a file for each row, a row for each file."""
        came = self._rows(
            "SELECT study_instance_uid, decision, reported "
            "FROM instance LEFT JOIN study ON study.id = instance.study_id"
        )
        assert sorted(map(tuple, came)) == sorted((study, "accept", True) for study in studies)
        went = self._rows(
            "SELECT study_instance_uid, kind, state FROM result JOIN study ON study.id = result.study_id "
            "LEFT JOIN delivery ON delivery.result_id = result.id"
        )
        assert sorted(map(tuple, went)) == sorted(
            (study, kind, "delivered") for study in studies for kind in ("SC", "SR")
        )
        named = [
            row.file for row in self._rows("SELECT file FROM instance UNION ALL SELECT file FROM result")
        ]
        assert self._files() == sorted(named)

    def _files(self) -> list[str]:
        """All files in the spool but the locks and the ledger."""
        every = (path.relative_to(self._spool) for path in self._spool.rglob("*") if path.is_file())
        own = ("lock", "ledger.sqlite*", "incoming/*.lock")
        return sorted(str(path) for path in every if not any(fnmatchcase(str(path), name) for name in own))

    def _rows(self, query: str) -> Sequence[sa.Row[Any]]:
        with self._engine.begin() as connection:
            return connection.execute(sa.text(query)).all()


def await_the_end(books: Books, orthanc: Orthanc, diagnosis: Callable[[], str]) -> None:
    """Wait until nothing is left to be done; fail with all that is."""
    try:
        eventually(lambda: not books.unfinished(), timeout=PATIENCE, every=0.5)
    except TimeoutError as error:
        left = "\n".join(books.unfinished())
        raise AssertionError(f"{error}; Orthanc holds {orthanc.count}\n{left}\n{diagnosis()}") from None


def check_archive(orthanc: Orthanc, studies: Sequence[str], spool: Path) -> None:
    """Every study has one report and one heatmap, as the spool keeps them, and there is nothing else."""
    held = orthanc.instances
    assert sorted((one.study_instance_uid, one.modality) for one in held) == sorted(
        (study, modality) for study in studies for modality in ONE_OF_EACH.elements()
    )
    kept = {path.stem: path for path in (spool / "results").rglob("*.dcm")}
    for one in held:
        assert _data_set(orthanc.file(one)) == _data_set(kept[one.sop_instance_uid].read_bytes())


def _data_set(part10: bytes) -> bytes:
    """What follows the File Meta Information, whose length is its first element (PS3.10 7.1)."""
    return part10[144 + int.from_bytes(part10[140:144], "little") :]
