"""A file cut at every byte, through the reader of ``analyse``: a reason each, and no exception."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bright_engine import BrightEngine
from pydicom.uid import JPEGLSLossless
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.gateway.bulk.reader import BulkReader
from cxr_pacs.gateway.media import Media
from cxr_pacs.radiograph import Outcome
from cxr_pacs.settings import Settings

_PIXEL_DATA = b"\xe0\x7f\x10\x00"


def native():
    return make_radiograph(picture=synthetic_chest(130, 130, 0))


def encapsulated():
    dataset = make_radiograph(picture=np.full((130, 130), 0.5, np.float32))
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    return dataset


# Without the length of the delimiter at its very end an encapsulated one lacks nothing.
@pytest.mark.parametrize(("make", "not_needed"), [(native, 0), (encapsulated, 4)])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_file_cut_at_every_byte(tmp_path, make, not_needed):
    buffer = io.BytesIO()
    make().save_as(buffer)
    whole, path = buffer.getvalue(), tmp_path / "cut.dcm"
    reader = BulkReader(Settings(), BrightEngine(), tmp_path, now=0.0)
    pixels = whole.index(_PIXEL_DATA) + 64
    many = range(pixels, len(whole), 97 if len(whole) > 10_000 else 1)
    for length in (*range(pixels), *many, len(whole) - 1):
        path.write_bytes(whole[:length])
        (file,) = Media([path])
        outcome = reader.read(file)
        assert outcome.decision.reason, length
        assert outcome.error is None, length
        read = outcome.decision.outcome is Outcome.ACCEPT
        assert read == (len(whole) - length <= not_needed), length
