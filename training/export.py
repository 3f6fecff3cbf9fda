"""From fitted weights to a bundle: calibration, operating points, honest figures, manifest."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_pacs.inference import load_engine
from cxr_pacs.inference.bundle import MANIFEST, load_bundle, pack_weights
from cxr_pacs.inference.manifest import (
    Code,
    Head,
    Label,
    Manifest,
    Network,
    Preprocessing,
    Source,
    Training,
    WeightsFile,
)
from training.baselines import fit_baselines
from training.calibrate import Calibration, OperatingPoint, calibrate_table, recalibrated
from training.claims import claims
from training.evaluation import evaluate, metrics
from training.recipe import HEADS
from training.scoring import score
from training.toml import to_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import Architecture
    from cxr_pacs.inference.bundle import Bundle
    from training.corpus import Film

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["Fitted", "Release", "export"]

_NAMESPACE = uuid.UUID("662f1a4c-5f0e-4a56-9d59-2f3c1a7b5d10")
_WEIGHTS = "weights.npz"
_CODES = {
    "covid19": Code(value="840539006", scheme="SCT", meaning="COVID-19"),
    "bacterial_pneumonia": Code(value="53084003", scheme="SCT", meaning="Bacterial pneumonia"),
    "normal": Code(value="17621005", scheme="SCT", meaning="Normal"),
}
_CITATIONS = {
    "cohen-covid-chestxray": "Cohen, Morrison, Dao, COVID-19 image data collection, arXiv:2003.11597",
    "hannover-covid19-image-repository": (
        "Winther et al., COVID-19 Image Repository, Hannover Medical School, doi:10.6084/m9.figshare.12275009"
    ),
    "nih-chestxray14": (
        "NIH Clinical Center; Wang et al., ChestX-ray8, CVPR 2017, https://nihcc.app.box.com/v/ChestXray-NIHCC"
    ),
    "kermany-paediatric": "Kermany, Zhang, Goldbaum, doi:10.17632/rscbjbr9sj.2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a person decides about a bundle: name, version and maker, and what must be said of it.

    Attributes
    ----------
    name, version, manufacturer, intended_use, licence : str
    limitations : tuple of str
    procedure : str
        How the weights were made.
    seed : int
        Of the fit.
    """

    name: str
    version: str
    manufacturer: str
    intended_use: str
    licence: str
    limitations: tuple[str, ...]
    procedure: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Weights, the architecture that they fit, and what they were fitted to see.

    Attributes
    ----------
    architecture : Architecture
    weights : mapping of str to float ndarray
    size : int
        Side of the input square, pixels.
    mean, deviation : tuple of 3 float
        Of the P-values.
    """

    architecture: Architecture
    weights: Weights
    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.25, 0.25, 0.25)


def export(fitted: Fitted, parts: Mapping[str, Sequence[Film]], release: Release, out: Path) -> Bundle:
    """
    Write the bundle into the folder `out` and read it back.

    Every score comes from the engine that serves, with the float16 weights. Temperatures and thresholds are
    chosen on ``parts["val"]``; figures and claims are those of ``parts["test"]``, beside trivial baselines
    fitted on ``parts["train"]``.
    """
    packed = pack_weights(fitted.weights)
    draft = _draft(fitted, parts["train"], release, hashlib.sha256(packed).hexdigest())
    with tempfile.TemporaryDirectory() as folder:
        bundle = _write(Path(folder), draft, packed)
    engine = load_engine(bundle, "auto")
    chosen = calibrate_table(score(bundle, parts["val"], engine=engine))
    table = recalibrated(score(bundle, parts["test"], engine=engine), chosen)
    baselines = fit_baselines(parts["train"], parts["test"], {head.head: head.labels for head in table.heads})
    evaluation = evaluate(table.with_baselines(baselines))
    manifest = draft.model_copy(
        update={
            "heads": tuple(_head(head.head, head.labels, chosen[head.head]) for head in table.heads),
            "metrics": metrics(evaluation, "test"),
            "claims": claims(evaluation, "test split"),
        }
    )
    return _write(out, manifest, packed)


def _write(folder: Path, manifest: Manifest, packed: bytes) -> Bundle:
    """Write a bundle, and read it back whole and checked."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _WEIGHTS).write_bytes(packed)
    (folder / MANIFEST).write_text(to_toml(manifest.model_dump(mode="json")), encoding="utf-8")
    return load_bundle(folder)


def _draft(fitted: Fitted, train: Sequence[Film], release: Release, digest: str) -> Manifest:
    """Write the manifest as far as it is known before the first film is scored."""
    plain = {
        head: Calibration(
            temperature=1.0, points=(OperatingPoint(threshold=0.5, chosen="not yet"),) * len(labels)
        )
        for head, labels in HEADS.items()
    }
    return Manifest(
        name=release.name,
        version=release.version,
        manufacturer=release.manufacturer,
        device_uid=f"2.25.{uuid.uuid5(_NAMESPACE, f'{release.name} {release.version} {digest}').int}",
        intended_use=release.intended_use,
        licence=release.licence,
        limitations=release.limitations,
        network=Network(
            layout="resnet-v1", stages=fitted.architecture.stages, width=fitted.architecture.width
        ),
        preprocessing=Preprocessing(
            identifier=f"squash-area-{fitted.size}", mean=fitted.mean, deviation=fitted.deviation
        ),
        weights=WeightsFile(file=_WEIGHTS, sha256=digest),
        heads=tuple(_head(head, labels, plain[head]) for head, labels in HEADS.items()),
        training=Training(procedure=release.procedure, seed=release.seed, sources=tuple(_sources(train))),
    )


def _head(head: str, labels: Sequence[str], calibration: Calibration) -> Head:
    return Head(
        name=head,
        temperature=calibration.temperature,
        labels=tuple(
            Label(name=label, code=_CODES[label], threshold=point.threshold, chosen=point.chosen)
            for label, point in zip(labels, calibration.points, strict=True)
        ),
    )


def _sources(films: Iterable[Film]) -> Iterable[Source]:
    """Name each collection of the training films once."""
    by_source = defaultdict(list)
    for film in films:
        by_source[film.source].append(film)
    for name, members in sorted(by_source.items()):
        yield Source(
            name=name,
            citation=_CITATIONS.get(name, name),
            licences=tuple(sorted({film.licence for film in members})),
            images=len(members),
            patients=len({film.patient for film in members}),
        )
