"""The process itself: an orderly end in the middle of work, and starts that cannot be."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from peers import Archive, Destination, Gateway, associated, of_modality, send
from studies import ONE_OF_EACH, new_radiograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_sigterm_in_the_middle_of_work(tmp_path: Path, make_gateway: Callable[..., Gateway]):
    radiographs = [new_radiograph() for _ in range(12)]
    with Archive(tmp_path / "archive") as archive:
        gateway = make_gateway(Destination(name="archive", ae_title=archive.ae_title, port=archive.port))
        gateway.start()
        assert send(radiographs, gateway.port) == [0] * 12
        assert gateway.stop() == 0, gateway.log_tail()
        with associated(gateway.port, [("1.2.840.10008.1.1", "1.2.840.10008.1.2")]) as association:
            assert not association.is_established

        gateway.start()
        studies = [r.StudyInstanceUID for r in radiographs]
        archive.wait_for(
            lambda held: all(of_modality(held, study) >= ONE_OF_EACH for study in studies), timeout=120
        )
        assert gateway.stop() == 0, gateway.log_tail()
        assert [of_modality(archive.instances, study) for study in studies] == [ONE_OF_EACH] * 12
        assert archive.conflicts == []


def test_a_second_gateway_over_one_spool_is_refused(make_gateway: Callable[..., Gateway]):
    with make_gateway() as first:
        second = _serve(first.config)
        assert second.returncode == 2
        assert "spool.path" in second.stderr
        assert first.stop() == 0, first.log_tail()


def _serve(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cxr_pacs", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[dicom]\nprot = 11112\n", ["dicom.prot", "port"]),
        ('[dicom]\nport = "11112"\n', ["dicom.port"]),
        ("[studdy]\n", ["studdy"]),
        ('[dicom]\nae_title = "A TITLE OF MORE THAN 16"\n', ["dicom.ae_title"]),
        ("[study]\nquiet_period = -1\n", ["study.quiet_period"]),
        ('[[destination]]\nname = "a"\nae_title = "A"\nhost = "h"\n', ["destination.0.port"]),
        ("not toml", ["cxr-pacs.toml"]),
    ],
)
def test_a_wrong_setting_ends_with_2_and_its_key(tmp_path: Path, text: str, names: list[str]):
    config = tmp_path / "cxr-pacs.toml"
    config.write_text(text, encoding="utf-8")
    ended = _serve(config)
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in names), ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_settings_file_ends_with_2_and_its_name(tmp_path: Path):
    ended = _serve(tmp_path / "nowhere.toml")
    assert ended.returncode == 2
    assert "nowhere.toml" in ended.stderr


def test_an_unknown_bundle_ends_with_2(tmp_path: Path):
    config = tmp_path / "cxr-pacs.toml"
    config.write_text(
        f'[model]\nbundle = "{tmp_path}/none"\n[spool]\npath = "{tmp_path}/s"\n', encoding="utf-8"
    )
    ended = _serve(config)
    assert ended.returncode == 2
    assert "bundle" in ended.stderr
