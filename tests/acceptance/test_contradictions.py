"""What contradicts itself: instances that come twice, in one content or two, and a study of two patients.

The states that these leave in the ledger, one by one, are in tests/gateway/test_journey.py; bad input of one
instance is in test_bad_input.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from peers import (
    Archive,
    Destination,
    Gateway,
    deliveries,
    eventually,
    instances,
    of_modality,
    send,
    told,
)
from radiographs import make_radiograph, synthetic_chest
from studies import ONE_OF_EACH, new_radiograph
from swift_gateway import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import FileDataset

DEADLINE = 60


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as running:
        yield running


@pytest.fixture
def gateway(
    archive: Archive, make_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gateway]:
    monkeypatch.setattr(Gateway, "command", COMMAND)
    made = make_gateway(
        Destination(name="archive", ae_title=archive.ae_title, port=archive.port),
        study={"quiet_period": 1.5, "after_release": 1.5},
    )
    made.start()
    yield made
    assert made.stop() == 0, made.log_tail()


def _other_content(radiograph: FileDataset) -> FileDataset:
    """Another picture under the same UIDs."""
    other = make_radiograph(picture=synthetic_chest(256, 224, 8), PatientID=radiograph.PatientID)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        other[keyword] = radiograph[keyword]
    other.file_meta.MediaStorageSOPInstanceUID = radiograph.SOPInstanceUID
    return other


def _reported(archive: Archive, study: str) -> None:
    archive.wait_for(lambda held: of_modality(held, study) == ONE_OF_EACH, timeout=DEADLINE)


def _decisions(gateway: Gateway) -> list[str | None]:
    return [row["decision"] for row in instances(gateway)]


def test_an_instance_that_comes_again_changes_nothing(archive: Archive, gateway: Gateway):
    film = new_radiograph()
    study = str(film.StudyInstanceUID)
    with ThreadPoolExecutor(4) as modalities:
        answers = list(modalities.map(lambda _: send([film, film], gateway.port), range(4)))
    assert answers == [[0, 0]] * 4
    _reported(archive, study)
    assert send([film], gateway.port) == [0]
    assert gateway.stop() == 0, gateway.log_tail()
    gateway.start()
    assert send([film], gateway.port) == [0]

    following = new_radiograph()
    assert send([following], gateway.port) == [0]
    _reported(archive, str(following.StudyInstanceUID))
    assert len(instances(gateway)) == 2
    assert len(archive.receptions) == 4
    said = told(gateway, "why", study)
    assert said.startswith("0: "), said
    assert said.count(" came from ") == 1
    assert said.endswith("\nAll 2 deliveries were taken.")


def test_other_content_under_a_known_uid_replaces_nothing_and_needs_a_person(
    archive: Archive, gateway: Gateway
):
    film = new_radiograph()
    study = str(film.StudyInstanceUID)
    assert send([film, _other_content(film)], gateway.port) == [0, 0]
    _reported(archive, study)
    assert _decisions(gateway) == ["accept", "hold"]
    originals = gateway.settings.folder / "spool" / "originals"
    assert len(list(originals.rglob("*.dcm"))) == 2  # nothing is thrown away

    said = told(gateway, "why", study)
    assert said.startswith("3: "), said
    assert "; held: This SOP Instance UID came before with other bytes: other content or encoding.\n" in said
    assert said.endswith("\n1 instance(s) are held and need a person.")
    standing = told(gateway, "status")
    assert standing.startswith("3: "), standing
    assert "1 accepted, 0 skipped, 1 held, 0 refused" in standing
    assert told(gateway, "dismiss", str(film.SOPInstanceUID), "--yes").startswith("0: held: ")
    assert told(gateway, "why", study).startswith("0: ")
    assert archive.conflicts == []
    assert len(archive.receptions) == 2


def test_images_of_two_patients_in_one_study_are_not_reported_until_one_is_dismissed(
    archive: Archive, gateway: Gateway
):
    right = new_radiograph(PatientID="RIGHT-1")
    study = str(right.StudyInstanceUID)
    wrong = new_radiograph(PatientID="WRONG-2", StudyInstanceUID=study)
    following = new_radiograph()
    assert send([right, wrong, following], gateway.port) == [0, 0, 0]
    _reported(archive, str(following.StudyInstanceUID))

    said = eventually(lambda: _told_of_two_patients(gateway, study), timeout=DEADLINE)
    assert "RIGHT-1" not in said + gateway.log_tail(1000)
    assert "WRONG-2" not in said + gateway.log_tail(1000)
    assert not archive.of_study(study)
    assert deliveries(gateway)[2:] == []  # neither of the two heatmaps leaves

    assert told(gateway, "dismiss", study).count("not reported: ") == 2
    assert told(gateway, "dismiss", str(wrong.SOPInstanceUID), "--yes").startswith("0: not reported: ")
    _reported(archive, study)
    # Corrected under the same UID, its heatmap would be another one of the same UID, too.
    uid = str(wrong.SOPInstanceUID)
    same = new_radiograph(PatientID="RIGHT-1", StudyInstanceUID=study, SOPInstanceUID=uid)
    assert send([same], gateway.port) == [0]
    assert {archive.read(one).PatientID for one in archive.of_study(study)} == {"RIGHT-1"}
    assert _decisions(gateway) == ["accept", "skip", "accept", "hold"]

    corrected = new_radiograph(PatientID="RIGHT-1", StudyInstanceUID=study, InstanceNumber=3)
    assert send([corrected], gateway.port) == [0]
    archive.wait_for(lambda held: of_modality(held, study) == ONE_OF_EACH + ONE_OF_EACH, timeout=DEADLINE)
    assert {archive.read(one).PatientID for one in archive.of_study(study)} == {"RIGHT-1"}


def test_a_late_image_of_another_patient_is_not_reported(archive: Archive, gateway: Gateway):
    right = new_radiograph(PatientID="RIGHT-1")
    study = str(right.StudyInstanceUID)
    assert send([right], gateway.port) == [0]
    _reported(archive, study)
    assert send([new_radiograph(PatientID="WRONG-2", StudyInstanceUID=study)], gateway.port) == [0]
    eventually(lambda: _told_of_two_patients(gateway, study), timeout=DEADLINE)
    assert of_modality(archive.instances, study) == ONE_OF_EACH
    assert told(gateway, "dismiss", study, "--yes").startswith("0: not reported: ")
    assert told(gateway, "why", study).startswith("0: ")
    assert {archive.read(one).PatientID for one in archive.of_study(study)} == {"RIGHT-1"}


def _told_of_two_patients(gateway: Gateway, study: str) -> str | None:
    said = told(gateway, "why", study)
    problem = (
        "There is no report, or none of the newest images: the images of one study name different patients "
        "by PatientID: no report is made; correct the study at its source and send it again under new UIDs"
    )
    return said if said.startswith("3: ") and said.endswith(problem) else None
