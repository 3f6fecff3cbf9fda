"""A bundle of a network that others trained: DeepCOVID-XR's ResNet50 from its ``.h5``.

References
----------
Wehbe et al., DeepCOVID-XR, Radiology 2021, doi:10.1148/radiol.2020203511.
"""

from __future__ import annotations

import hashlib
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.bundle import MANIFEST, load_bundle, pack_weights
from cxr_pacs.inference.manifest import Manifest
from training.toml import to_toml
from training.transfer import LAST, Start, StartError, read_start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxr_pacs.inference.bundle import Bundle

__all__ = ["HEAD", "LABELS", "Release", "import_bundle"]

HEAD = "covid"
"""The one head of an imported bundle."""

LABELS = ("covid19", "not_covid19")
"""Its classes. SNOMED CT's COVID-19 excluded is so by a laboratory's test; the second is all else."""

_NETWORK = Architecture(stages=(3, 4, 6, 3), width=64, heads=())
_NAMESPACE = uuid.UUID("0b9f4a52-6f0c-5c39-8a55-1d0c35f1f3d4")
_WEIGHTS = "weights.npz"
_CODES = (
    {"value": "840539006", "scheme": "SCT", "meaning": "COVID-19"},
    {"value": "74964007", "scheme": "SCT", "meaning": "Other than COVID-19"},
)
_LIMITATIONS = (
    "Research use only; not a diagnostic device and not assessed by any regulator.",
    "Trained by others on films that are not at hand: nothing was measured before it was packed.",
    "It tells COVID-19 from all else and nothing more: what is not COVID-19 need not be normal.",
    "One of an ensemble's networks, alone; some were made for pictures cut to the lungs, it sees whole ones.",
    "Its makers resized pictures by Lanczos interpolation; here areas are averaged.",
    "A radiograph cannot prove an aetiology.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a person says of an imported network.

    Attributes
    ----------
    name, version, manufacturer, licence : str
    threshold : float
        Least score of COVID-19 that counts as positive, in (0, 1).
    size : int or None
        Side of the input square, where the file does not say.
    evidence : Path or None
        TOML with the site's own ``[[claims]]`` and, where it likes, ``[[metrics]]`` and ``[[sources]]``, with
        the keys of ``bundle.toml``; the head is `HEAD`, the classes are `LABELS`.
    """

    name: str
    version: str
    manufacturer: str
    licence: str
    threshold: float
    size: int | None
    evidence: Path | None


def import_bundle(file: Path, release: Release, out: Path) -> Bundle:
    """
    Make a bundle of `file` in the new folder `out`; its scores are those that Keras computes from the file.

    The sigmoid of a logit z is the softmax of the logits z/2 and -z/2, so that either class has a map of what
    argues for it. Weights stay in single precision.

    Raises
    ------
    StartError
        The file is not DeepCOVID-XR's ResNet50, the release does not fit it, or `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StartError(f"{out} exists; a bundle is never overwritten: choose a new folder")
    start = read_start(file, _NETWORK)
    if start.kind != "deepcovid-xr":
        raise StartError(
            f"{file} has no layer {LAST}: it is not DeepCOVID-XR's ResNet50, but a start for a fit"
        )
    size = _size(file, start, release)
    packed = pack_weights(_two_classes(start), np.float32)
    digest = hashlib.sha256(packed).hexdigest()
    seen = f"{release.name} {release.version} {digest}"
    table: dict[str, Any] = {
        "name": release.name,
        "version": release.version,
        "manufacturer": release.manufacturer,
        "device_uid": f"2.25.{uuid.uuid5(_NAMESPACE, seen).int}",
        "intended_use": "Research use only",
        "licence": release.licence,
        "limitations": _LIMITATIONS,
        "network": {"layout": "resnet-v1", "stages": _NETWORK.stages, "width": _NETWORK.width},
        "preprocessing": {
            "identifier": f"squash-area-{size}",
            "mean": start.mean,
            "deviation": start.deviation,
        },
        "weights": {"file": _WEIGHTS, "sha256": digest},
        "heads": [{"name": HEAD, "temperature": 1.0, "labels": _labels(release.threshold)}],
        "training": {"procedure": f"{start.remark} Its SHA-256: {_digest(file)}."},
    }
    manifest = _manifest(table, release.evidence)
    out.mkdir(parents=True, exist_ok=True)
    (out / _WEIGHTS).write_bytes(packed)
    (out / MANIFEST).write_text(to_toml(manifest.model_dump(mode="json")), encoding="utf-8")
    return load_bundle(out)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(file: Path, start: Start, release: Release) -> int:
    if start.size is None and release.size is None:
        raise StartError(
            f"{file} holds weights alone and does not say its input's side; give --size 224 or 331"
        )
    if None not in (start.size, release.size) and start.size != release.size:
        raise StartError(
            f"{file} takes pictures of {start.size} x {start.size}; leave out --size {release.size}"
        )
    return int(start.size or release.size or 0)


def _two_classes(start: Start) -> dict[str, NDArray[np.float32]]:
    weights = {name: array for name, array in start.weights.items() if name.partition("/")[0] != LAST}
    for weight in ("kernel", "bias"):
        half = start.weights[f"{LAST}/{weight}"] / 2
        weights[f"{HEAD}/{weight}"] = np.concatenate([half, -half], axis=-1)
    return weights


def _labels(threshold: float) -> list[dict[str, Any]]:
    chosen = "set when the network was imported, not fitted to any film"
    return [
        {"name": label, "code": code, "threshold": share, "chosen": chosen}
        for label, code, share in zip(LABELS, _CODES, (threshold, 1 - threshold), strict=True)
    ]


def _manifest(table: dict[str, Any], evidence: Path | None) -> Manifest:
    said = {} if evidence is None else _evidence(evidence)
    if "sources" in said:
        table["training"] |= {"sources": said.pop("sources")}
    try:
        return Manifest.model_validate(table | said)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "manifest"
        theirs = where.split(".")[0] in {*said, "manifest"} or where.startswith("training.sources")
        named = f"{evidence}: " if evidence is not None and theirs else ""
        raise StartError(f"{named}{where}: {problem['msg']}") from error


def _evidence(path: Path) -> dict[str, Any]:
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise StartError(f"{path} is not TOML in UTF-8: {error}") from error
    if unknown := sorted(said.keys() - {"claims", "metrics", "sources"}):
        raise StartError(f"{path}: {unknown[0]} is unknown; claims, metrics and sources may be given")
    return said
