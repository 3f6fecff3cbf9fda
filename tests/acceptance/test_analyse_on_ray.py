"""``cxr-pacs analyse --ray`` spreads over the nodes of a cluster, and makes what one host makes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread
from studies import demo_radiographs, new_radiograph

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


def test_no_cluster_is_said_so(tmp_path: Path):
    status, said = analysed(tmp_path, "--out", tmp_path / "out", "--ray", "127.0.0.1:1")
    assert status == 2
    assert "--ray: no Ray cluster at 127.0.0.1:1" in said
