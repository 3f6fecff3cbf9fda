"""`cxr-pacs rerun` beside a gateway with another bundle, and through kills: one successor, sent once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from chance import SEED
from peers import Archive, Destination, Gateway, deliveries, eventually, of_modality, send
from pydicom import dcmread
from studies import ONE_OF_EACH, new_radiograph
from toy_bundle import write_toy_bundle

from cxr_pacs.inference.bundle import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_KILLS = 2


def _run(gateway: Gateway, *arguments: str) -> tuple[int, str]:
    command = [
        sys.executable,
        "-m",
        "cxr_pacs",
        arguments[0],
        "--config",
        str(gateway.config),
        *arguments[1:],
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def _other_threshold(folder: Path) -> Path:
    manifest = write_toy_bundle(folder) / MANIFEST
    text = manifest.read_text(encoding="utf-8")
    assert "threshold = 0.4" in text
    manifest.write_text(text.replace("threshold = 0.4", "threshold = 0.45"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("seed", [SEED])
def test_another_bundle_makes_one_successor_whatever_dies(
    tmp_path: Path, make_gateway: Callable[..., Gateway], seed: int
):
    chance = random.Random(seed)  # noqa: S311  the seed is in the test's name
    study = str((film := new_radiograph()).StudyInstanceUID)
    with Archive(tmp_path / "archive") as archive:
        gateway = make_gateway(Destination(name="archive", ae_title=archive.ae_title, port=archive.port))
        gateway.start()
        assert send([film], gateway.port) == [0]
        archive.wait_for(lambda held: of_modality(held, study) == ONE_OF_EACH, timeout=120)
        status, said = _run(gateway, "rerun", study, "--wait", "120")
        assert (status, "nothing had changed" in said) == (0, True), said
        assert gateway.stop() == 0, gateway.log_tail()

        gateway.settings.tables["model"] = {"bundle": str(_other_threshold(tmp_path / "other"))}
        status, said = _run(gateway, "rerun", study, "--wait", "0")
        assert (status, "not done yet" in said) == (3, True), said
        for _ in range(_KILLS):
            gateway.start()
            time.sleep(chance.uniform(0, 0.5))  # the moment of the kill, not a wait
            gateway.kill()
        gateway.start()
        archive.wait_for(lambda held: of_modality(held, study) == ONE_OF_EACH + ONE_OF_EACH, timeout=120)
        eventually(lambda: {row["state"] for row in deliveries(gateway)} == {"delivered"})
        status, said = _run(gateway, "why", study)
        assert (status, "names the earlier one as its predecessor" in said) == (0, True), said
        assert "nothing had changed" in said
        assert gateway.stop() == 0, gateway.log_tail()

        reports = [dcmread(held.path) for held in archive.instances if held.modality == "SR"]
        old, new = sorted(reports, key=lambda report: report.InstanceNumber)
        (series,) = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        (named,) = series.ReferencedSOPSequence
        assert named.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert len(archive.instances) == 4
        assert archive.conflicts == []
