"""Objects from the headers of real and derived samples, as validators see them."""

from __future__ import annotations

import pytest
from data_folder import dicom_files
from pydicom import config, dcmread
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
from radiographs import synthetic_chest

from cxr_pacs.evidence import ReadInstance, check

ACCEPTED_CLASSES = {
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
}


def headers():
    for path in dicom_files():
        header = dcmread(path, stop_before_pixels=True)
        uid = UID(header.get_item("SOPInstanceUID").value.decode().rstrip("\0"), config.IGNORE)
        # a sample with an illegal UID makes every reference to it illegal
        if header.SOPClassUID in ACCEPTED_CLASSES and uid.is_valid:
            yield pytest.param(path, id=path.stem)


@pytest.mark.parametrize("path", list(headers()))
def test_no_error_from_real_headers(path, findings, both, dciodvfy_errors, dsrdump):
    header = dcmread(path, stop_before_pixels=True)
    instance = ReadInstance(header=header, findings=findings, quality=("One remark.",))
    drawn, document = both(instance, synthetic_chest(96, 80, 0))
    for dataset in (drawn, document):
        assert check(dataset) == ()
        assert dciodvfy_errors(dataset) == []
    assert "AI-derived, not a diagnosis" in dsrdump(document)
