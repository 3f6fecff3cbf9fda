"""DCMTK renders the original under our presentation state: it must look as the model saw it."""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import pytest
from optional_objects import dciodvfy, part10, picture_of
from pydicom import Dataset
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.evidence import ReadInstance, presentation_state
from cxr_pacs.radiograph import read_radiograph

PICTURE = synthetic_chest(160, 140, 3)


def table(entries, *, first=0, bits=12):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


def modality_table():
    item = table(np.linspace(65535, 0, 4096).astype(int), bits=16)
    item.ModalityLUTType = "US"
    return item


# DCMTK's renderer knows neither the sigmoid function nor rectangular shutters, so they are not here.
CURVE = np.rint(4095 * np.linspace(0, 1, 4096) ** 0.5).astype(int)
DISPLAYS = {
    "window": {"WindowCenter": 1500, "WindowWidth": 1200},
    "two windows": {"WindowCenter": [1500, 50], "WindowWidth": [1200, 3]},
    "no window": {"WindowCenter": None, "WindowWidth": None},
    "look-up table of 12 bits": {"VOILUTSequence": [table(CURVE)]},
    "look-up table that begins later": {"VOILUTSequence": [table(CURVE[:2000], first=700)]},
    "rescale": {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 2000, "WindowWidth": 3000},
    "modality table": {
        "ModalityLUTSequence": [modality_table()],
        "RescaleSlope": None,
        "RescaleIntercept": None,
        "RescaleType": None,
        "WindowCenter": 30000,
        "WindowWidth": 40000,
    },
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("display", DISPLAYS)
def test_a_viewer_shows_what_the_model_saw(findings, stamp, tmp_path, display, photometric):
    header = make_radiograph(picture=PICTURE, photometric=photometric, **DISPLAYS[display])
    instance = ReadInstance(header=header, findings=findings)
    state = presentation_state(instance, picture_of(instance), stamp)
    assert dciodvfy(state, tmp_path) == []
    (tmp_path / "state.dcm").write_bytes(part10(state))
    (tmp_path / "image.dcm").write_bytes(part10(header))
    command = ["dcmp2pgm", "--pstate", "state.dcm", "image.dcm", "shown.pgm"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    shown = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_UNCHANGED) / 255
    assert np.abs(shown - read_radiograph(header).pixels).max() < 1.5 / 255
