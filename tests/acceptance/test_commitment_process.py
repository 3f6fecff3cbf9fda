"""Storage commitment with the gateway as a process: Orthanc as the archive, and kill -9 before the report."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from committing import CommittingArchive
from peers import Destination, Gateway, Orthanc, eventually, free_port, send
from studies import new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE = 120


def _objects(gateway: Gateway) -> list[tuple[str, str]]:
    """State and reason of each object that is to be committed."""
    ledger = gateway.settings.folder / "spool" / "ledger.sqlite"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute("SELECT state, reason FROM commitment ORDER BY id").fetchall()


def _committed(gateway: Gateway) -> None:
    eventually(lambda: [state for state, _ in _objects(gateway)] == ["committed"] * 2, timeout=DEADLINE)


def test_orthanc_commits_on_an_association_of_its_own(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    port = free_port()
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": (Gateway.ae_title, port)}) as orthanc:
        gateway = make_gateway(
            Destination(name="orthanc", ae_title=orthanc.ae_title, port=orthanc.port, commitment=True),
            dicom={"port": port},
            commitment={"gather": 0.5, "wait": 0.0},
        )
        gateway.start()
        assert send([new_radiograph()], port) == [0]
        _committed(gateway)
        assert gateway.stop() == 0, gateway.log_tail()


@pytest.mark.parametrize("heard", [True, False], ids=["reported after the restart", "reported to nobody"])
def test_killed_between_the_request_and_the_report(
    tmp_path: Path, make_gateway: Callable[..., Gateway], *, heard: bool
):
    with CommittingArchive(tmp_path / "archive", reports="never", client=("CXRPACS", 0)) as archive:
        gateway = make_gateway(
            Destination(name="archive", ae_title=archive.ae_title, port=archive.port, commitment=True),
            commitment={"gather": 0.5, "wait": 0.2, "report_within": 600.0 if heard else 2.0},
        )
        archive.client = (Gateway.ae_title, gateway.port)
        gateway.start()
        assert send([new_radiograph()], gateway.port) == [0]
        first = eventually(lambda: archive.asked, timeout=DEADLINE)[0]
        gateway.kill()
        if not heard:
            archive.reports = "new"
        gateway.start()
        if heard:
            archive.report(first)
        _committed(gateway)
        assert gateway.stop() == 0, gateway.log_tail()
        assert set(archive.answers) == {0x0000}
        uids = {asked.transaction_uid for asked in archive.asked}
        assert uids == {first.transaction_uid} if heard else first.transaction_uid in uids
