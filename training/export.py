"""From fitted weights to a bundle: calibration, operating points, honest figures, manifest."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
from cxr_pacs.inference.network import build_network, write_weights
from training.calibrate import fit_temperature, operating_point, softmax, truth
from training.corpus import squash_all
from training.evaluate import HeadScores, report
from training.loop import DEVIATION, HEADS, MEAN, logits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import Architecture
    from cxr_pacs.inference.bundle import Bundle
    from training.corpus import Film

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["Fitted", "Release", "export", "to_toml"]

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
    """Weights with the architecture that they fit and the side of the square they were fitted at."""

    architecture: Architecture
    weights: Weights
    size: int


def export(fitted: Fitted, parts: Mapping[str, Sequence[Film]], release: Release, out: Path) -> Bundle:
    """
    Write the bundle into the folder `out` and read it back.

    Temperatures and thresholds come from ``parts["val"]``; the figures are those of the float16 weights.
    """
    packed = pack_weights(fitted.weights)
    halves = {name: array.astype(np.float16) for name, array in fitted.weights.items()}
    network = build_network(fitted.architecture, MEAN, DEVIATION)
    write_weights(network, halves)
    judged = [*parts["val"], *parts["test"]]
    said = logits(network, squash_all(judged, fitted.size))
    heads, judgements = [], []
    for head, labels in HEADS.items():
        table, scores = _calibrated(head, labels, said[head][: len(parts["val"])], parts["val"], said[head])
        heads.append(table)
        judgements.append(HeadScores.of(table, dict(zip(judged, scores, strict=True))))
    digest = hashlib.sha256(packed).hexdigest()
    manifest = Manifest(
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
        preprocessing=Preprocessing(identifier=f"squash-area-{fitted.size}", mean=MEAN, deviation=DEVIATION),
        weights=WeightsFile(file=_WEIGHTS, sha256=digest),
        heads=tuple(heads),
        training=Training(
            procedure=release.procedure, seed=release.seed, sources=tuple(_sources(parts["train"]))
        ),
        metrics=report(judgements, parts),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / _WEIGHTS).write_bytes(packed)
    (out / MANIFEST).write_text(to_toml(manifest.model_dump(mode="json")), encoding="utf-8")
    return load_bundle(out)


def _calibrated(
    head: str,
    labels: Sequence[str],
    val_logits: NDArray[np.float32],
    val: Sequence[Film],
    all_logits: NDArray[np.float32],
) -> tuple[Head, NDArray[np.float64]]:
    """Give the head's table, calibrated on the validation films, and the scores of all films."""
    true = truth([film.label for film in val], labels)
    temperature = fit_temperature(val_logits, true)
    known = true >= 0
    val_scores = softmax(val_logits[known], temperature)
    tables = []
    for index, label in enumerate(labels):
        point = operating_point(val_scores[:, index], true[known] == index)
        tables.append(Label(name=label, code=_CODES[label], threshold=point.threshold, chosen=point.chosen))
    table = Head(name=head, temperature=temperature, labels=tuple(tables))
    return table, softmax(all_logits, temperature)


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


def to_toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write nested tables as TOML: plain values first, then tables and arrays of tables; codes inline."""
    plain = {k: v for k, v in table.items() if not _is_table(v) and not _is_tables(v)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        name = ".".join((*path, key))
        if _is_table(value):
            lines += ["", f"[{name}]", to_toml(value, (*path, key))]
        elif _is_tables(value):
            for entry in value:
                lines += ["", f"[[{name}]]", to_toml(entry, (*path, key))]
    return "\n".join(lines) + ("" if path else "\n")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != Code.model_fields.keys()


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _is_table(value[0])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)  # a TOML basic string, integer, float or boolean
