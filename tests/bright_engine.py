"""An engine without a framework: it looks for brightness, so that the gateway's own tests are fast."""

from __future__ import annotations

import numpy as np

from cxr_pacs.inference import Analysis, Claim, ClassCode, ClassScore, Findings, ModelIdentity, Saliency
from cxr_pacs.inference.preprocessing import area_average

LABELS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}
CLASSES = (
    ClassCode(label="covid19", value="840539006", scheme="SCT", meaning="COVID-19"),
    ClassCode(label="bacterial_pneumonia", value="53084003", scheme="SCT", meaning="Bacterial pneumonia"),
    ClassCode(label="normal", value="17621005", scheme="SCT", meaning="Normal"),
)


def claim(
    head: str, label: str, low: float = 0, high: float = 120, views: tuple[str, ...] = ("PA", "AP")
) -> Claim:
    """A claim whose figures are invented."""
    return Claim(
        head=head,
        label=label,
        age_low=low,
        age_high=high,
        views=views,
        films="imagined films",
        positives=30,
        others=30,
        figure="AUROC",
        value=0.9,
        low=0.8,
        high=1.0,
        baseline="none",
        baseline_value=0.5,
        gain_low=0.1,
    )


CLAIMS = tuple(claim(head, label) for head, labels in LABELS.items() for label in labels)


class BrightEngine:
    """The first class of each head is brightness, the second darkness; the map is the mean of each eighth."""

    identity = ModelIdentity(
        name="bright",
        version="1",
        digest="b" * 64,
        device_uid="2.25.7",
        manufacturer="tests",
        preprocessing="squash-area-64",
        intended_use="Tests only",
        classes=CLASSES,
    )
    claims = CLAIMS

    def analyse(self, picture: np.ndarray) -> Analysis:
        assert picture.dtype == np.float32
        image = area_average(picture, (64, 64))
        bright = float(np.clip(image.mean(), 0.01, 0.99))
        shares = {
            "binary": (bright, 1 - bright),
            "multiclass": (bright / 2, 1 - bright, bright / 2),
        }
        scores = [
            ClassScore(head=head, label=label, score=share, threshold=0.5)
            for head, labels in LABELS.items()
            for label, share in zip(labels, shares[head], strict=True)
        ]
        cells = image.reshape(8, 8, 8, 8).mean(axis=(1, 3))
        cells = (cells / max(float(cells.max()), 1e-6)).astype(np.float32)
        return Analysis(
            findings=Findings(scores=tuple(scores), model=self.identity),
            saliency=tuple(
                Saliency(head=s.head, label=s.label, cells=cells, first_centre=(0.5, 0.5), pitch=1 / 8)
                for s in scores
            ),
        )
