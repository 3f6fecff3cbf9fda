"""The same picture, however it is coded, gets the same scores from the shipped model."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from radiographs import make_radiograph
from studies import demo_radiographs

from cxr_pacs.inference import bundled, load_bundle, load_engine
from cxr_pacs.radiograph import read_radiograph, valid_part
from cxr_pacs.settings import ModelSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom import FileDataset

    from cxr_pacs.inference import Engine

_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(load_bundle(bundled(ModelSettings().bundle)), "cpu")


@pytest.fixture(scope="module")
def picture() -> NDArray[np.float32]:
    return read_radiograph(next(iter(demo_radiographs().values()))).pixels


@pytest.fixture(scope="module")
def reference(engine: Engine, picture: NDArray[np.float32]) -> dict[tuple[str, str], float]:
    return _scores(engine, make_radiograph(bits=16, picture=picture))


def _scores(engine: Engine, dataset: FileDataset) -> dict[tuple[str, str], float]:
    part, _ = valid_part(read_radiograph(dataset))
    return {(s.head, s.label): s.score for s in engine.analyse(part).findings.scores}


@pytest.mark.parametrize("syntax", _SYNTAXES)
def test_scores_within_a_hundredth(
    engine: Engine, picture: NDArray[np.float32], reference: dict[tuple[str, str], float], syntax: str
):
    for photometric, bits in itertools.product(("MONOCHROME1", "MONOCHROME2"), (8, 10, 12, 16)):
        coded = make_radiograph(
            bits=bits, photometric=photometric, transfer_syntax=_SYNTAXES[syntax], picture=picture
        )
        assert _scores(engine, coded) == pytest.approx(reference, abs=0.01), (photometric, bits)
