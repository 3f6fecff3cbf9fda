"""PNG and JPEG for research: scores and a marked heatmap, and nothing that could enter an archive."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_pacs.errors import EvidenceError, UnreadablePixels
from cxr_pacs.evidence import HeatmapPicture, research_picture
from cxr_pacs.gateway.bulk.objects import replacing
from cxr_pacs.gateway.bulk.outcome import FileOutcome
from cxr_pacs.inference import Engine
from cxr_pacs.radiograph import Decision, Outcome, SelectionPolicy, picture_p_values
from cxr_pacs.settings import Settings

__all__ = ["RESEARCH", "PictureReader"]

RESEARCH = "Not DICOM: for research only. Age and view are not known: the model claims none of these scores."

_SMALLEST = SelectionPolicy().minimum_side


class PictureReader:
    """Reads pictures into a folder; the parameters are those of `BulkReader`."""

    def __init__(self, settings: Settings, engine: Engine, out: Path) -> None:
        self._language = settings.evidence.language
        self._engine = engine
        self._out = out

    def read(self, content: bytes) -> FileOutcome:
        """Read one picture; its P-values go the way of a radiograph's."""
        try:
            pixels = _large_enough(picture_p_values(content))
            analysis = self._engine.analyse(pixels)
            findings = analysis.findings
            shown = findings.principal or findings.scores[0]
            saliency = next(s for s in analysis.saliency if (s.head, s.label) == (shown.head, shown.label))
            drawn = HeatmapPicture(pixels=pixels, saliency=saliency.over(pixels.shape), shown=shown)
            png = research_picture(findings, drawn, self._language)
        except (UnreadablePixels, EvidenceError) as error:
            held = Decision(outcome=Outcome.HOLD, rung="picture", reason=str(error))
            return FileOutcome(decision=held, research=True)
        name = f"research-{hashlib.sha256(content).hexdigest()[:32]}"
        scores = [{"head": s.head, "label": s.label, "score": s.score} for s in findings.scores]
        said = {"remark": RESEARCH, "model": findings.model.digest, "scores": scores}
        return FileOutcome(
            decision=Decision(outcome=Outcome.ACCEPT, rung="picture", reason="A picture, read on request."),
            scores=findings.scores,
            quality=(RESEARCH, *analysis.quality),
            objects=(
                self._keep(png, f"{name}.png"),
                self._keep(json.dumps(said, indent=1).encode(), f"{name}.json"),
            ),
            research=True,
        )

    def _keep(self, content: bytes, name: str) -> str:
        with replacing(self._out / name) as partial:
            partial.write_bytes(content)
        return name


def _large_enough(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = pixels.shape
    if min(rows, columns) < _SMALLEST:
        raise UnreadablePixels(
            f"The picture has {rows} x {columns} pixels; at least {_SMALLEST} on each side are needed."
        )
    return pixels
