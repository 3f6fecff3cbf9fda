"""What only the archive got while the gateway was away: `cxr-pacs fetch` brings it in, from Orthanc."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from peers import Orthanc, free_port, of_modality
from radiographs import make_radiograph, synthetic_chest
from test_journey import table

from cxr_pacs.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pydicom import FileDataset

    from cxr_pacs.dimse import Peer

    Serving = Callable[[Settings], AbstractContextManager[Peer]]

_serial = itertools.count(1)
_SINCE = datetime.fromisoformat("2026-03-10T06:00")


def _film(taken: datetime, **tags: object) -> FileDataset:
    when = {"StudyDate": f"{taken:%Y%m%d}", "StudyTime": f"{taken:%H%M%S}"}
    serial = f"FETCH-{next(_serial)}"
    return make_radiograph(picture=synthetic_chest(150, 130, 0), **when, **({"PatientID": serial} | tags))


def _upload(orthanc: Orthanc, film: FileDataset) -> str:
    buffer = io.BytesIO()
    film.save_as(buffer)
    orthanc.upload(buffer.getvalue())
    return str(film.StudyInstanceUID)


def _fetch(config: Path) -> subprocess.CompletedProcess[str]:
    since = ["--since", _SINCE.isoformat(timespec="minutes"), "--until", "2026-03-12"]
    return subprocess.run(
        [sys.executable, "-m", "cxr_pacs", "fetch", "--config", str(config), *since],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("method", "running"), [("get", True), ("move", True), ("get", False)], ids=["get", "move", "stopped"]
)
def test_what_was_missed_is_reported_once(tmp_path: Path, serving: Serving, method: str, *, running: bool):
    port = free_port()
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": ("CXRPACS", port)}) as orthanc:
        config = _site(tmp_path, port, orthanc, method)
        settings = load_settings(config)
        with serving(settings):
            pass  # it was there once, and is away now

        first = _film(_SINCE)
        films = [
            first,
            _film(
                _SINCE, StudyInstanceUID=first.StudyInstanceUID, PatientID=first.PatientID, InstanceNumber=2
            ),
            _film(_SINCE + timedelta(hours=30), Modality="CR"),
            _film(datetime.fromisoformat("2026-03-12T23:59:58")),
        ]
        missed = Counter(_upload(orthanc, film) for film in films)
        others = [
            _upload(orthanc, _film(_SINCE - timedelta(seconds=1))),
            _upload(orthanc, _film(datetime.fromisoformat("2026-03-13T00:00"))),
            _upload(orthanc, _film(_SINCE, BodyPartExamined="HAND")),
        ]
        with serving(settings) if running else nullcontext():
            fetched = _fetch(config)
            assert fetched.returncode == 0, fetched.stdout + fetched.stderr
            assert "orthanc: 4 studies, 3 with missing images (4)" in fetched.stdout
            assert "left out: 1 series: Body Part Examined names another part" in fetched.stdout
            if running:
                _wait_for_reports(orthanc, missed)
        if not running:
            assert [row["decision"] for row in table(settings, "instance")] == [None] * 4
        with serving(settings):
            _wait_for_reports(orthanc, missed)
            again = _fetch(config)
            assert again.returncode == 0, again.stdout + again.stderr
            assert "orthanc: 4 studies, 0 with missing images (0)" in again.stdout

        held = orthanc.instances
        for study, count in missed.items():
            made = of_modality(held, study)
            assert (made["SR"], made["OT"], made["DX"] + made["CR"]) == (1, count, count)
        assert all(of_modality(held, study) == Counter({"DX": 1}) for study in others)
        # Refused are the many classes that Orthanc proposes beside.
        received = [row for row in table(settings, "instance") if row["decision"] != "refuse"]
        assert Counter(row["sop_instance_uid"] for row in received) == Counter(
            str(film.SOPInstanceUID) for film in films
        )
        assert {row["source"] for row in received} == {orthanc.ae_title}


def _site(folder: Path, port: int, orthanc: Orthanc, method: str) -> Path:
    peer = f'name = "orthanc"\nae_title = "{orthanc.ae_title}"\nhost = "127.0.0.1"\nport = {orthanc.port}\n'
    config = folder / "site.toml"
    config.write_text(
        f'[dicom]\nport = {port}\n[spool]\npath = "{folder / "spool"}"\n[study]\nquiet_period = 1.0\n'
        f'[[destination]]\n{peer}[[archive]]\n{peer}method = "{method}"\n'
    )
    return config


def _wait_for_reports(orthanc: Orthanc, studies: Iterable[str]) -> None:
    orthanc.wait_for(
        lambda held: all(of_modality(held, study) >= Counter({"SR": 1, "OT": 1}) for study in studies),
        timeout=60,
    )
