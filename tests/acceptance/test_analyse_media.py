"""``cxr-pacs analyse`` on a folder, a ZIP and a DICOMDIR of it decides as the gateway does by C-STORE."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from data_folder import dicom_files
from peers import (
    Gateway,
    GatewaySettings,
    associated,
    c_store,
    dcmtk,
    eventually,
    free_port,
    instances,
    request,
)
from pydicom import dcmread
from studies import demo_radiographs
from swift_command import COMMAND

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import FileDataset

Decisions = dict[str, tuple[str, str, str]]

_SAMPLES = {"demo": tuple(demo_radiographs()), **({"samples": dicom_files()} if dicom_files() else {})}


class _SwiftGateway(Gateway):
    command = COMMAND


@pytest.fixture(params=_SAMPLES)
def samples(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    return _SAMPLES[request.param]


def by_c_store(datasets: Sequence[FileDataset], folder: Path) -> tuple[Decisions, set[str]]:
    """What the gateway decided of each instance, and those that it took no context for."""
    gateway = _SwiftGateway(
        GatewaySettings(
            folder=folder, port=free_port(), destinations=(), tables={"study": {"quiet_period": 0.1}}
        )
    )
    with gateway:
        requests = [request(dataset) for dataset in datasets]
        contexts = [(one.sop_class_uid, one.transfer_syntax_uid) for one in requests]
        with associated(gateway.port, contexts) as association:
            taken = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
            sent = [one for one in requests if (one.sop_class_uid, one.transfer_syntax_uid) in taken]
            assert {c_store(association, one) for one in sent} == {0}

        def decided() -> Decisions | None:
            rows = [row for row in instances(gateway) if row["sop_instance_uid"]]
            found = {r["sop_instance_uid"]: (r["decision"], r["rung"], r["reason"]) for r in rows}
            whole = len(found) == len(sent) and all(decision for decision, _, _ in found.values())
            return found if whole else None

        decisions = eventually(decided)
        gateway.stop()
    return decisions, {one.sop_instance_uid for one in requests if one not in sent}


def analysed(medium: Path, out: Path) -> list[dict[str, Any]]:
    ended = subprocess.run(
        [*COMMAND, "analyse", str(medium), "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode in (0, 3), ended.stderr
    return json.loads(ended.stdout)["instances"]


def on_media(samples: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The files in a folder, in a ZIP, and in a folder with a DICOMDIR."""
    plain, cd, archive = folder / "plain", folder / "cd", folder / "disk.zip"
    plain.mkdir()
    (cd / "IM").mkdir(parents=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for number, path in enumerate(samples):
            shutil.copy(path, plain / path.name)
            shutil.copy(path, cd / "IM" / f"{number:08}")
            opened.write(path, f"export/{path.name}")
    made = dcmtk("dcmmkdir", "+r", "+I", "-W", "-Nxc", "+id", cd, "+D", cd / "DICOMDIR", "IM")
    assert made.returncode == 0, made.stderr
    return {"plain": plain, "archive": archive, "DICOMDIR": cd / "DICOMDIR"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_the_same_decisions_as_by_c_store(samples: tuple[Path, ...], tmp_path: Path):
    datasets = [dcmread(path) for path in samples]
    decisions, not_taken = by_c_store(datasets, tmp_path / "gateway")
    objects = []
    for name, medium in on_media(samples, tmp_path).items():
        found = analysed(medium, tmp_path / "out" / name)
        by_uid = {one["sop_instance_uid"]: one for one in found}
        assert len(by_uid) == len(found)
        if name != "DICOMDIR":  # one that cannot stand in a DICOMDIR is in none
            assert set(by_uid) == set(decisions) | not_taken
        same = {uid: (one["decision"], one["rung"], one["reason"]) for uid, one in by_uid.items()}
        assert {uid: said for uid, said in same.items() if uid not in not_taken} == {
            uid: said for uid, said in decisions.items() if uid in same
        }
        assert all(same[uid][0] == "skip" for uid in not_taken & set(same))
        objects.append({uid: [p.rpartition("/")[2] for p in one["objects"]] for uid, one in by_uid.items()})
    plain, archive, directory = objects
    assert plain == archive
    assert all(plain[uid] == made for uid, made in directory.items())
    assert any(decisions[uid][0] == "accept" for uid in directory if uid in decisions)
