"""``cxr-pacs analyse`` over every sample: the decision each deserves, and objects without an error."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from data_folder import dicom_files
from peers import dcmtk
from studies import demo_radiographs

if TYPE_CHECKING:
    from pathlib import Path

# What the samples' description implies for those that are no frontal chest radiograph of a known human.
_NOT_READ = {
    "chest_cr_agfa_charset_japanese_32px.dcm": ("hold", "no pixel data"),
    "chest_cr_fuji_mono1_10bit.dcm": ("hold", "Patient ID is empty"),
    "cr_mono1_modality_lut_sequence_jpeglossless.dcm": ("hold", "No element says clearly"),
    "ct_reject.dcm": ("skip", "Not a CR, DX or Secondary Capture"),
    "extremity_cr_fuji_mono1_j2klossless.dcm": ("skip", "not the chest"),
    "extremity_cr_fuji_mono1_rle.dcm": ("skip", "not the chest"),
    "hip_cr_fuji_mono2_jpeglossless.dcm": ("skip", "not the chest"),
    "hip_cr_fuji_mono2_jpegls.dcm": ("skip", "not the chest"),
    "mg_overlay_jpeglossless.dcm": ("skip", "Not a CR, DX or Secondary Capture"),
    "no_pixel_data.dcm": ("skip", "Not a CR, DX or Secondary Capture"),
    "ot_modality_lut_sequence.dcm": ("skip", "Modality"),
    "ot_voi_lut_sequence.dcm": ("skip", "Modality"),
    "thorax_dx_fuji_mono1_small.dcm": ("skip", "animal"),
}
_SAMPLES = (*demo_radiographs(), *dicom_files())


@pytest.fixture(scope="session")
def analysed(tmp_path_factory: pytest.TempPathFactory, toy_bundle: Path) -> dict[str, dict[str, Any]]:
    """What one run over all samples said of each, by path."""
    folder = tmp_path_factory.mktemp("analysed")
    config = folder / "cxr-pacs.toml"
    config.write_text(f"[model]\nbundle = {json.dumps(str(toy_bundle))}\n", encoding="utf-8")
    command = [sys.executable, "-m", "cxr_pacs", "analyse", *map(str, _SAMPLES)]
    ended = subprocess.run(
        [*command, "--out", str(folder / "out"), "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    some_not_read = any(path.name in _NOT_READ for path in _SAMPLES)
    assert ended.returncode == (3 if some_not_read else 0), ended.stderr
    return {instance["path"]: instance for instance in json.loads(ended.stdout)["instances"]}


@pytest.mark.parametrize("path", _SAMPLES, ids=lambda path: path.stem)
def test_decision(analysed: dict[str, dict[str, Any]], path: Path):
    instance = analysed[str(path)]
    decision, reason = _NOT_READ.get(path.name, ("accept", "A chest radiograph"))
    assert (instance["decision"], reason in instance["reason"]) == (decision, True), instance["reason"]


@pytest.mark.parametrize("path", _SAMPLES, ids=lambda path: path.stem)
def test_objects_without_an_error(analysed: dict[str, dict[str, Any]], path: Path):
    instance = analysed[str(path)]
    # Where the header tells no age nothing is claimed, and the report is alone.
    told, read = bool(instance["scores"]), instance["decision"] == "accept"
    assert read == bool(told or instance["withheld"])
    assert len(instance["objects"]) == read + told
    for made in instance["objects"]:
        said = dcmtk("dciodvfy", made)
        assert "Error" not in said.stdout + said.stderr, said.stderr
