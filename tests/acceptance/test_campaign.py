"""Studies arrive from four modalities, and the gateway is killed again and again: each is reported once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from campaign import (
    LIMIT,
    Books,
    Modalities,
    Swift,
    await_fault,
    await_the_end,
    check_archive,
    die_and_return,
    draw_faults,
    settings,
)
from chance import SEED
from peers import Gateway, Orthanc, free_port
from swift_gateway import SECONDS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("seed", [SEED])
def test_each_study_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int):
    monkeypatch.setenv(SECONDS, "0")
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    port = free_port()
    spool = tmp_path / "gateway" / "spool"
    books = Books(f"sqlite:///file:{spool / 'ledger.sqlite'}?mode=ro&uri=true", spool)
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": (Gateway.ae_title, port)}) as orthanc:
        with Swift(settings(spool.parent, port, orthanc)) as gateway, Modalities(port, orthanc) as modalities:
            for fault in draw_faults(chance):
                await_fault(fault, modalities, books)
                die_and_return(gateway, fault)
            modalities.finish()
            await_the_end(books, orthanc, gateway.log_tail)
            assert gateway.stop() == 0, gateway.log_tail()
        books.check(modalities.studies)
        check_archive(orthanc, modalities.studies, spool)
