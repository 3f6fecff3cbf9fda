"""The compact bundle serves like the other: findings, maps, claims."""

from __future__ import annotations

import numpy as np
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.gateway.reading import Reader
from cxr_pacs.gateway.service import open_engine
from cxr_pacs.settings import Settings

NAME = "covid-pneumonia-efficientnet-lite0"


def test_it_reads_a_radiograph(tmp_path):
    settings = Settings.model_validate({"model": {"bundle": NAME}, "spool": {"path": tmp_path}})
    engine = open_engine(settings)
    chest = synthetic_chest(300, 260, 0)
    analysis = engine.analyse(chest)
    for head in ("binary", "multiclass"):
        assert np.isclose(sum(score.score for score in analysis.findings.head(head)), 1)
    for saliency in analysis.saliency:
        assert saliency.over((300, 260)).shape == (300, 260)
        assert saliency.cells.shape == (5, 5)
    path = tmp_path / "film.dcm"
    make_radiograph(picture=chest).save_as(path)
    reading = Reader(settings, engine).read(path, 0.0)
    assert reading.findings is not None
    assert reading.findings.model.name == NAME
    assert reading.heatmap is not None
