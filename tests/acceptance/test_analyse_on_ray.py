"""``cxr-pacs analyse --ray`` spreads over the nodes of a cluster, and makes what one host makes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread
from studies import demo_radiographs, new_radiograph

from cxr_pacs.gateway.bulk.task import BulkTask
from cxr_pacs.gateway.bulk.workers import RayWorkers
from cxr_pacs.inference import load_bundle
from cxr_pacs.settings import ModelSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND = (sys.executable, "-m", "cxr_pacs", "analyse")


@pytest.fixture
def address() -> Iterator[str]:
    """That of a cluster of two nodes with a processor each."""
    cluster = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("two_nodes.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()
        cluster.wait(timeout=60)
    finally:
        cluster.kill()
        cluster.wait()
        cluster.stdout.close()


def analysed(*arguments: object) -> tuple[int, str]:
    command = [*_COMMAND, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    return ended.returncode, ended.stderr


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_two_nodes_make_what_one_host_makes(tmp_path: Path, toy_bundle: Path, address: str):
    folder, config = tmp_path / "in", tmp_path / "site.toml"
    folder.mkdir()
    for number in range(5):
        new_radiograph().save_as(folder / f"{number}.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    config.write_text(f"[model]\nbundle = {json.dumps(str(toy_bundle))}\n", encoding="utf-8")
    paths = (folder, *demo_radiographs())

    status, said = analysed(*paths, "--out", tmp_path / "spread", "--config", config, "--ray", address)
    assert status == 3, said
    assert "2 nodes took part." in said
    status, said = analysed(*paths, "--out", tmp_path / "alone", "--config", config, "--processes", 2)
    assert status == 3, said

    spread, alone = rows(tmp_path / "spread"), rows(tmp_path / "alone")
    assert spread == alone
    assert len(spread) == 9
    made = sorted(path.name for path in (tmp_path / "alone").glob("*.dcm"))
    assert sorted(path.name for path in (tmp_path / "spread").glob("*.dcm")) == made
    for name in made:
        one, other = (dcmread(tmp_path / out / name) for out in ("spread", "alone"))
        assert one.get("PixelData") == other.get("PixelData")


def test_a_task_that_ends_its_worker_each_time_is_told_from_a_fault_of_the_run(
    tmp_path: Path, toy_bundle: Path, address: str
):
    settings = Settings(model=ModelSettings(bundle=str(toy_bundle)))
    task = BulkTask.of(settings, load_bundle(toy_bundle).identity, tmp_path, 0.0, pictures=False)
    with RayWorkers(address, task) as workers:
        # What `in_flight` tries again, alone, and then records as an error of the file.
        ended = workers._submit(lambda *_: os._exit(1), None)
        with pytest.raises(BrokenExecutor) as raised:
            ended.result(timeout=200)
        assert type(raised.value.__cause__).__name__ == "WorkerCrashedError"
        assert workers._submit(lambda _, number: number + 1, 1).result(timeout=200) == 2


def test_no_cluster_is_said_so(tmp_path: Path):
    status, said = analysed(tmp_path, "--out", tmp_path / "out", "--ray", "127.0.0.1:1")
    assert status == 2
    assert "--ray: no Ray cluster at 127.0.0.1:1" in said
