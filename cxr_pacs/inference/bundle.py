"""A model bundle: a folder with ``bundle.toml`` and the weights it speaks of, checked whole before use.

A bundle is immutable: a new training is a new version with a new device UID.
"""

from __future__ import annotations

import hashlib
import io
import os
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from cxr_pacs.errors import BundleError
from cxr_pacs.inference.findings import ModelIdentity
from cxr_pacs.inference.manifest import Manifest, WeightsFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.floating[Any]]]

__all__ = ["MANIFEST", "Bundle", "bundled", "load_bundle", "pack_weights"]

MANIFEST = "bundle.toml"
_BUNDLED = Path(__file__).parents[1] / "bundles"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A checked bundle.

    Attributes
    ----------
    path : Path
        Its folder.
    manifest : Manifest
    identity : ModelIdentity
        Its digest is the SHA-256 of the bytes of the manifest, the weights and, where there is one, the lung
        network's weights, one after the other.
    weights : mapping of str to float16 or float32 ndarray
        Under ``layer/weight``, exactly those of ``manifest.architecture``.
    lungs : mapping of str to float16 or float32 ndarray, or None
        Likewise those of ``manifest.lungs.network``; None where the bundle has no lung network.
    """

    path: Path
    manifest: Manifest
    identity: ModelIdentity
    weights: Weights
    lungs: Weights | None = None


def bundled(name: str) -> Path:
    """
    Find a bundle's folder.

    Parameters
    ----------
    name : str
        With a path separator, or where there is such a folder: the path of a bundle's folder, absolute or
        from the working directory. Else the name of a bundle that comes with this package.

    Raises
    ------
    BundleError
        There is no ``bundle.toml``; the message says what was looked for, and which bundles come along.
    """
    is_path = any(separator in name for separator in (os.sep, os.altsep) if separator) or Path(name).is_dir()
    folder = Path(name) if is_path else _BUNDLED / name
    if (folder / MANIFEST).is_file():
        return folder
    names = ", ".join(sorted(path.parent.name for path in _BUNDLED.glob(f"*/{MANIFEST}"))) or "none"
    sought = f"no {folder.resolve() / MANIFEST}" if is_path else f"no folder and no shipped bundle {name!r}"
    raise BundleError(f"model.bundle: there is {sought}; shipped with cxr-pacs: {names}")


def load_bundle(path: Path) -> Bundle:
    """
    Read the bundle in the folder `path` and check all of it; no code in it can run.

    Raises
    ------
    BundleError
        The manifest or the weights are missing, malformed, or do not fit each other; the message names the
        file and the field or layer.
    """
    written = _read(path / MANIFEST)
    manifest = _parse(written, path / MANIFEST)
    packed = _read_checked(path, manifest.weights, "weights")
    packed_lungs = b"" if manifest.lungs is None else _read_checked(path, manifest.lungs, "lungs")
    identity = ModelIdentity(
        name=manifest.name,
        version=manifest.version,
        digest=hashlib.sha256(written + packed + packed_lungs).hexdigest(),
        device_uid=manifest.device_uid,
        manufacturer=manifest.manufacturer,
        preprocessing=manifest.preprocessing.identifier,
        intended_use=manifest.intended_use,
        classes=manifest.classes,
    )
    weights = _unpack(packed, manifest.architecture.weight_shapes(), path / manifest.weights.file)
    lungs = None
    if manifest.lungs is not None:
        shapes = manifest.lungs.network.weight_shapes()
        lungs = _unpack(packed_lungs, shapes, path / manifest.lungs.file)
    return Bundle(path=path, manifest=manifest, identity=identity, weights=weights, lungs=lungs)


def pack_weights(weights: Weights, dtype: type[np.float16 | np.float32] = np.float16) -> bytes:
    """
    Write a weights' file, uncompressed; equal weights give equal bytes.

    Parameters
    ----------
    weights : mapping of str to ndarray
    dtype : type
        Halves do for weights fitted here; single precision keeps an imported network's output as it was.
    """
    packed = io.BytesIO()
    arrays: dict[str, Any] = {name: array.astype(dtype) for name, array in weights.items()}
    np.savez(packed, **arrays)
    return packed.getvalue()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); is this a bundle's folder?") from error


def _read_checked(folder: Path, named: WeightsFile, table: str) -> bytes:
    packed = _read(folder / named.file)
    found = hashlib.sha256(packed).hexdigest()
    if found != named.sha256:
        raise BundleError(
            f"{folder / named.file}: its SHA-256 is {found}, but {table}.sha256 of {MANIFEST} says "
            f"{named.sha256}; take both files from the same release"
        )
    return packed


def _parse(written: bytes, path: Path) -> Manifest:
    try:
        return Manifest.model_validate(tomllib.loads(written.decode("utf-8")))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'manifest'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise BundleError(f"{path}: {problems}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise BundleError(f"{path} is not TOML in UTF-8: {error}") from error


def _unpack(packed: bytes, expected: Mapping[str, tuple[int, ...]], path: Path) -> Weights:
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is not an archive of plain NumPy arrays: {error}") from error
    for name, shape in expected.items():
        if name not in weights:
            raise BundleError(f"{path}: weight {name} is missing")
        if weights[name].shape != shape:
            raise BundleError(f"{path}: weight {name} is {weights[name].shape}, the network needs {shape}")
        if weights[name].dtype not in (np.float16, np.float32):
            raise BundleError(f"{path}: weight {name} is {weights[name].dtype}, not float16 or float32")
        if not np.isfinite(weights[name]).all():
            raise BundleError(f"{path}: weight {name} holds a value that is not finite")
    if extra := sorted(weights.keys() - expected.keys()):
        raise BundleError(f"{path}: weight {extra[0]} belongs to no layer of the network")
    return weights
