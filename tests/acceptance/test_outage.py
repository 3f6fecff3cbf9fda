"""The archive is down while many studies arrive: nothing is lost, nothing grows, and the backlog drains."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from peers import Destination, Gateway, StoreScp, deliveries, delivery_states, eventually, send, told
from studies import new_radiograph
from swift_gateway import COMMAND, SECONDS

from cxr_pacs import dimse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STUDIES = int(os.environ.get("CXR_STUDIES", "300"))
SENDERS, BATCH = 2, 25
PATIENCE = 60 + STUDIES * 3
MOST_GROWTH = 300 * 1024  # kB of resident memory
MOST_THREADS = 40
# Of the rate at which the gateway brings a backlog to an archive that was never down, on a busy machine.
LEAST_SHARE = 0.5
# The gateway's deliveries go through its ledger, each in a workflow of its own; a plain loop keeps no record.
MOST_SLOWER = 2.5
SAMPLE = 200


class Growth:
    """The most threads and resident memory that a process has while this is entered."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.idle = self.most = self._look()
        self._left = threading.Event()
        self._watch = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._watch.join()

    def __str__(self) -> str:
        return " ".join(f"{key} {self.idle[key]} -> {self.most[key]}" for key in self.idle)

    def of(self, key: str) -> int:
        """How far the most is above what there was when it was idle."""
        return self.most[key] - self.idle[key]

    def _look(self) -> dict[str, int]:
        lines = (line.split() for line in self._status.read_text(encoding="utf-8").splitlines())
        return {line[0][:-1]: int(line[1]) for line in lines if line[0] in {"VmRSS:", "Threads:"}}

    def _run(self) -> None:
        while not self._left.wait(0.2):
            now = self._look()
            self.most = {key: max(self.most[key], now[key]) for key in now}


def _pace_alone(paths: list[Path], folder: Path) -> float:
    """Objects in a second that a plain loop of our own storage SCU brings to such an archive."""
    with StoreScp(folder) as scp:
        peer = dimse.Peer(ae_title=scp.ae_title, host="127.0.0.1", port=scp.port)
        began = time.monotonic()
        for path in paths:
            dimse.store(Gateway.ae_title, peer, path)
        return len(paths) / (time.monotonic() - began)


def _pace(files: Sequence[Path]) -> float:
    """Objects in a second, from the first file that was taken to the last."""
    taken = sorted(path.stat().st_mtime for path in files)
    return (len(taken) - 1) / (taken[-1] - taken[0])


def _owe_all(gateway: Gateway, destination: str) -> None:
    """Owe every object to another destination, as if it had just been made; the gateway is stopped."""
    ledger = sqlite3.connect(gateway.settings.folder / "spool" / "ledger.sqlite")
    with closing(ledger), ledger:
        ledger.execute(
            "INSERT INTO delivery (result_id, destination, state, attempts, created_at, next_at) "
            "SELECT id, :name, 'waiting', 0, :now, :now FROM result ORDER BY id",
            {"name": destination, "now": time.time()},
        )


def _lags(gateway: Gateway, destination: str) -> list[float]:
    of_it = [row for row in deliveries(gateway) if row["destination"] == destination]
    return [row["finished_at"] - row["created_at"] for row in of_it]


@pytest.mark.timeout(3 * PATIENCE + 300)
def test_an_archive_that_is_down_for_the_whole_arrival(
    tmp_path: Path, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Gateway, "command", COMMAND)
    monkeypatch.setenv(SECONDS, "0")
    objects = 2 * STUDIES
    late = StoreScp(tmp_path / "late")
    with StoreScp(tmp_path / "up") as up, StoreScp(tmp_path / "fresh") as fresh:
        destinations = (
            Destination(name="up", ae_title=up.ae_title, port=up.port),
            Destination(name="late", ae_title=late.ae_title, port=late.port),
        )
        tables = {"heatmap": {"size": "source"}, "delivery": {}}  # what a site has that sets nothing
        gateway = make_gateway(*destinations, **tables)
        gateway.start()
        with Growth(gateway.pid) as growth:
            began = time.monotonic()

            def arrive(count: int) -> None:
                radiographs = [new_radiograph() for _ in range(count)]
                assert send(radiographs, gateway.port) == [0] * count

            batches = [BATCH] * (STUDIES // BATCH) + ([STUDIES % BATCH] if STUDIES % BATCH else [])
            with ThreadPoolExecutor(SENDERS) as senders:
                list(senders.map(arrive, batches))
            arrived = time.monotonic() - began
            eventually(lambda: delivery_states(gateway, "up") == {"delivered": objects}, timeout=PATIENCE)
            served = time.monotonic() - began
            assert delivery_states(gateway, "late") == {"waiting": objects}
            assert len(up.files()) == objects

            down = time.monotonic()
            with late:
                eventually(
                    lambda: delivery_states(gateway, "late") == {"delivered": objects}, timeout=PATIENCE
                )
                drained = time.monotonic() - down
        assert told(gateway, "status").startswith("3: ")  # the archive is gone again
        assert gateway.stop() == 0, gateway.log_tail()
        _owe_all(gateway, "fresh")
        extended = (*destinations, Destination(name="fresh", ae_title=fresh.ae_title, port=fresh.port))
        with make_gateway(*extended, **tables) as again:
            eventually(lambda: delivery_states(again, "fresh") == {"delivered": objects}, timeout=PATIENCE)
            assert again.stop() == 0, again.log_tail()
    names = {path.name for path in up.files()}
    assert names == {path.name for path in late.files()} == {path.name for path in fresh.files()}
    assert len(names) == objects
    log = gateway.log.read_text(encoding="utf-8")
    assert log.count(": delivered") == 3 * objects
    pace, unhindered = _pace(late.files()), _pace(fresh.files())
    lags = _lags(gateway, "up")
    results = sorted((gateway.settings.folder / "spool" / "results").rglob("*.dcm"))
    alone = _pace_alone(results[:SAMPLE], tmp_path / "alone")
    attempts = sum(row["attempts"] for row in deliveries(gateway) if row["destination"] == "late")
    sys.stdout.write(
        f"\n{STUDIES} studies arrived in {arrived:.0f} s and were served to the other destination after "
        f"{served:.0f} s; {growth}; {attempts} attempts for {objects} objects; drained {drained:.0f} s after "
        f"the archive was back, at {pace:.1f} objects/s; one that was never down {unhindered:.1f}/s, alone "
        f"{alone:.1f}/s; the other destination had each after {max(lags):.1f} s at most\n"
    )
    assert growth.of("VmRSS") < MOST_GROWTH
    assert growth.of("Threads") < MOST_THREADS
    # As if all were made at once, and it had them at that rate.
    assert max(lags) < objects / (LEAST_SHARE * unhindered)
    assert pace > LEAST_SHARE * unhindered
    assert pace > alone / MOST_SLOWER
