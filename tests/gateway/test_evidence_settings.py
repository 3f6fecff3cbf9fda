"""What a site sets of its reports and heatmaps reaches the archive; what it leaves alone stays as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bright_engine import BrightEngine
from peers import Orthanc, eventually, send
from pydicom.uid import JPEGLSLossless
from radiographs import make_radiograph
from test_journey import DEADLINE, radiographs, table

from cxr_pacs.evidence import check
from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.service import Gateway
from cxr_pacs.inference import ClassScore, Findings
from cxr_pacs.inference.lateral import located
from cxr_pacs.settings import Settings, parse_settings

WISHES = """
[evidence]
language = "es"
[heatmap]
size = "source"
encoding = "jpeg-ls"
second_without_text = true
"""
DEFAULT_DIGEST = Settings().output_digest()


class LeftLungOnly(BrightEngine):
    """Finds COVID-19 in what stands at the left of every picture, between two lungs."""

    def analyse(self, picture):
        analysis = super().analyse(picture)
        found = Findings(
            scores=tuple(
                ClassScore(head=s.head, label=s.label, score=float(s.label == "covid19"), threshold=0.5)
                for s in analysis.findings.scores
            ),
            model=self.identity,
        )
        cells = np.zeros((8, 8), np.float32)
        cells[4, 1] = 1
        lungs = np.zeros(picture.shape, np.bool_)
        rows, columns = picture.shape
        for start in (0.05, 0.55):
            lungs[rows // 5 : -rows // 5, int(start * columns) : int((start + 0.4) * columns)] = True
        maps = tuple(dataclasses.replace(one, cells=cells) for one in analysis.saliency)
        return dataclasses.replace(analysis, findings=located(found, maps, lungs), saliency=maps, lungs=lungs)


def test_the_side_survives_the_ledger(archive, make_settings):
    (radiograph,) = radiographs(1)
    settings = make_settings(archive)
    gateway = Gateway(settings, LeftLungOnly())
    gateway.start()
    try:
        send([radiograph], settings.dicom.port)
        archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
    finally:
        gateway.stop()
    (report,) = (i.path.read_bytes() for i in archive.instances if i.modality == "SR")
    # at the left of the picture stands the patient's right lung
    assert b"24028007" in report
    assert b"7771000" not in report
    (row,) = table(settings, "instance")
    assert '"side": "left"' in row["findings"]


def test_orthanc_takes_what_a_site_wishes(make_settings, tmp_path):
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": ("CXRPACS", 1)}) as orthanc:
        wishes = parse_settings(WISHES, "x")
        settings = make_settings(orthanc).model_copy(
            update={"evidence": wishes.evidence, "heatmap": wishes.heatmap}
        )
        (radiograph,) = radiographs(1)
        gateway = Gateway(settings, BrightEngine())
        gateway.start()
        try:
            send([radiograph], settings.dicom.port)
            held = orthanc.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
            eventually(lambda: {d["state"] for d in table(settings, "delivery")} == {"delivered"})
        finally:
            gateway.stop()
        made = [orthanc.read(instance) for instance in held]
    assert all(check(one) == () for one in made)
    (report,) = (one for one in made if one.Modality == "SR")
    pictures = [one for one in made if one.Modality == "OT"]
    assert {one.file_meta.TransferSyntaxUID for one in pictures} == {JPEGLSLossless}
    assert {one.Columns for one in pictures} == {512, radiograph.Columns}
    assert len({one.SeriesInstanceUID for one in pictures}) == 1
    listed = {
        sop.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert listed == {radiograph.SOPInstanceUID, *(one.SOPInstanceUID for one in pictures)}
    assert "Obtenido por IA, no es un" in report.to_json()


@pytest.mark.parametrize("line", [line for line in WISHES.splitlines() if "=" in line])
def test_each_wish_makes_other_uids_and_its_default_none(line):
    key, _, value = line.partition(" = ")
    name = "evidence" if key == "language" else "heatmap"
    default = {"language": '"en"', "size": '"1024"', "encoding": '"native"', "second_without_text": "false"}
    digests = [
        parse_settings(f"[{name}]\n{key} = {one}", "x").output_digest() for one in (value, default[key])
    ]
    assert digests[0] != DEFAULT_DIGEST == digests[1]


def test_the_second_picture_is_made_only_on_request(tmp_path):
    path = tmp_path / "film.dcm"
    make_radiograph().save_as(path)
    plain, wished = (
        Reader(settings, BrightEngine()).read(path, 5.0)
        for settings in (Settings(), parse_settings(WISHES, "x"))
    )
    assert plain.beside.objects == ()
    (second,) = wished.beside.objects
    assert second.SeriesInstanceUID == wished.heatmap.SeriesInstanceUID
    assert (second.Rows, second.Columns) == (512, 448)
    assert wished.heatmap.Rows > 512
