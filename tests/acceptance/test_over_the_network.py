"""The journey as the archive sees it: a radiograph goes in, a report and a heatmap come out."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from peers import associated, dcmtk, eventually, of_modality, send, storescu
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from studies import ONE_OF_EACH, demo_radiographs, new_radiograph

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Site

# preamble, prefix and the File Meta Information Group Length element itself (PS3.10 7.1)
_BEFORE_GROUP_2 = 128 + 4 + 12


def test_echo_is_answered(site: Site):
    echo = dcmtk("echoscu", "-v", "-aec", site.gateway.ae_title, "127.0.0.1", site.gateway.port)
    assert echo.returncode == 0, echo.stderr


def test_another_called_title_is_rejected(site: Site):
    echo = dcmtk("echoscu", "-aec", "SOMEONE", "127.0.0.1", site.gateway.port)
    assert echo.returncode != 0
    assert "Called AE Title Not Recognized" in echo.stderr


@pytest.mark.parametrize("path", demo_radiographs(), ids=lambda path: path.stem)
def test_a_real_radiograph_sent_by_dcmtk(site: Site, path: Path):
    source = dcmread(path)
    study = source.StudyInstanceUID
    sent = storescu(path, site.gateway.port, transfer_syntax=source.file_meta.TransferSyntaxUID)
    assert sent.returncode == 0, sent.stderr

    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)

    assert of_modality(held, study) == ONE_OF_EACH
    report, heatmap = (
        site.archive.read(next(i for i in held if (i.study_instance_uid, i.modality) == (study, modality)))
        for modality in ("SR", "OT")
    )
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert heatmap.SOPClassUID == SecondaryCaptureImageStorage
    for made in (report, heatmap):
        assert made.PatientID == source.PatientID
        assert made.AccessionNumber == source.AccessionNumber
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert report.SeriesInstanceUID != heatmap.SeriesInstanceUID
    assert heatmap.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_dcmtk_reads_what_came_back(site: Site):
    radiograph = new_radiograph()
    assert send([radiograph], site.gateway.port) == [0]
    study = radiograph.StudyInstanceUID
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    paths = {i.modality: i.path for i in held if i.study_instance_uid == study}

    tree = dcmtk("dsrdump", paths["SR"])
    assert tree.returncode == 0, tree.stderr
    assert "Comprehensive 3D SR" in tree.stdout
    assert radiograph.SOPInstanceUID in dcmtk("dsrdump", "+Pu", paths["SR"]).stdout

    dump = dcmtk("dcmdump", "+P", "PhotometricInterpretation", paths["OT"])
    assert dump.returncode == 0, dump.stderr
    assert "[RGB]" in dump.stdout


def test_every_destination_gets_the_same_bytes(site: Site):
    radiograph = new_radiograph()
    assert send([radiograph], site.gateway.port) == [0]
    study = radiograph.StudyInstanceUID
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    for made in (i for i in held if i.study_instance_uid == study):
        name = f"*.{made.sop_instance_uid}"
        (copy,) = eventually(lambda name=name: list(site.store_scp.folder.glob(name)))
        eventually(lambda copy=copy: _is_whole(copy))
        # the archive's digest is that of the data set on the wire
        assert _data_set_digest(copy) == made.digest


def _data_set_digest(path: Path) -> str:
    """SHA-256 of the bytes after the preamble, the prefix and the File Meta Information."""
    meta = read_file_meta_info(path)
    encoded = path.read_bytes()[_BEFORE_GROUP_2 + meta.FileMetaInformationGroupLength :]
    return hashlib.sha256(encoded).hexdigest()


def _is_whole(path: Path) -> bool:
    return dcmtk("dcmftest", path).returncode == 0 and dcmtk("dcmdump", path).returncode == 0


def test_orthanc_as_source_and_destination(site: Site):
    radiographs = [new_radiograph() for _ in range(3)]
    identifiers = [site.orthanc.upload(_part10(radiograph)) for radiograph in radiographs]

    site.orthanc.send("gateway", *identifiers)

    studies = [radiograph.StudyInstanceUID for radiograph in radiographs]
    expected = ONE_OF_EACH + Counter({"DX": 1})
    held = site.orthanc.wait_for(
        lambda held: all(of_modality(held, study) >= expected for study in studies), timeout=60
    )
    assert [of_modality(held, study) for study in studies] == [expected] * 3


def _part10(dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_same_radiograph_twice_is_reported_once(site: Site):
    radiograph, later = new_radiograph(), new_radiograph()
    assert send([radiograph, radiograph], site.gateway.port) == [0, 0]
    study = radiograph.StudyInstanceUID
    site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    assert send([radiograph, later], site.gateway.port) == [0, 0]
    held = site.archive.wait_for(
        lambda held: of_modality(held, later.StudyInstanceUID) >= ONE_OF_EACH, timeout=60
    )
    assert of_modality(held, study) == ONE_OF_EACH


def test_two_images_of_one_study_share_one_report(site: Site):
    first = new_radiograph()
    second = new_radiograph(StudyInstanceUID=first.StudyInstanceUID, PatientID=first.PatientID)
    assert send([first, second], site.gateway.port) == [0, 0]
    study = first.StudyInstanceUID
    expected = Counter({"SR": 1, "OT": 2})
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= expected, timeout=60)
    assert of_modality(held, study) == expected


def test_a_late_image_makes_a_report_that_names_its_predecessor(site: Site):
    first = new_radiograph()
    study = first.StudyInstanceUID
    assert send([first], site.gateway.port) == [0]
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    (earlier,) = (i for i in held if (i.study_instance_uid, i.modality) == (study, "SR"))

    late = new_radiograph(StudyInstanceUID=study, PatientID=first.PatientID)
    assert send([late], site.gateway.port) == [0]

    expected = Counter({"SR": 2, "OT": 2})
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= expected, timeout=60)
    (later,) = (i for i in held if (i.study_instance_uid, i.modality) == (study, "SR") and i != earlier)
    (predecessor,) = site.archive.read(later).PredecessorDocumentsSequence
    named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == earlier.sop_instance_uid


def test_own_outputs_routed_back_are_ignored(site: Site):
    radiograph, later = new_radiograph(), new_radiograph()
    assert send([radiograph], site.gateway.port) == [0]
    study = radiograph.StudyInstanceUID
    held = site.archive.wait_for(lambda held: of_modality(held, study) >= ONE_OF_EACH, timeout=60)
    (heatmap,) = (i for i in held if (i.study_instance_uid, i.modality) == (study, "OT"))

    assert send([site.archive.read(heatmap), later], site.gateway.port) == [0, 0]

    held = site.archive.wait_for(
        lambda held: of_modality(held, later.StudyInstanceUID) >= ONE_OF_EACH, timeout=60
    )
    assert of_modality(held, study) == ONE_OF_EACH


def test_a_class_that_is_not_read_is_not_negotiated(site: Site):
    report = (str(Comprehensive3DSRStorage), "1.2.840.10008.1.2.1")
    radiograph = (str(SecondaryCaptureImageStorage), "1.2.840.10008.1.2.1")
    with associated(site.gateway.port, [report, radiograph]) as association:
        assert [c.abstract_syntax for c in association.accepted_contexts] == [radiograph[0]]
