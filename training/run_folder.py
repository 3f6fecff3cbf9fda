"""The folder of a run: how it was begun, so that nothing else is taken up in it, and its weights."""

from __future__ import annotations

import importlib.metadata
import json
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "PRETRAINING",
    "SETTINGS",
    "keep_settings",
    "read_settings",
    "read_weights",
    "write_weights",
]

PRETRAINING = "pretraining"
"""What the setting ``task`` is of a run without classes; runs of a classifier have none."""

SETTINGS, _WEIGHTS = "settings.json", "weights.npz"
_PACKAGES = ("cxr-pacs", "keras", "numpy", "opencv-python-headless", "tensorflow", "torch", "jax")


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """
    Write how a run is begun, with the versions of what takes part; make its folder.

    Parameters
    ----------
    folder : Path
    settings : mapping
        Of what JSON holds.

    Raises
    ------
    CorpusError
        The folder holds a run that was begun otherwise. What it does not name it may have had alike.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / SETTINGS).exists():
        kept = read_settings(folder)
        plain = json.loads(json.dumps(settings))
        if other := [name for name, value in plain.items() if name in kept and kept[name] != value]:
            raise CorpusError(f"{folder} holds a run with another {other[0]}; name a new folder")
        if kept.get("task") != plain.get("task"):
            raise CorpusError(f"{folder} holds a run of another command; name a new folder")
        return
    written = json.dumps({**settings, "versions": _versions()}, indent=1)
    (folder / SETTINGS).write_text(written + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def read_settings(folder: Path) -> dict[str, Any]:
    """
    Read what `keep_settings` wrote.

    Raises
    ------
    CorpusError
        There is nothing, or something else.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{folder} is no run of cxr-train fit or pretrain ({error.strerror})") from error
    except ValueError as error:
        raise CorpusError(f"{path} is no JSON in UTF-8: {error}") from error
    if not isinstance(settings, dict):
        raise CorpusError(f"{path} holds no settings of a run")
    return settings


def write_weights(folder: Path, weights: Mapping[str, NDArray[np.float32]]) -> Path:
    """Write what a run came to; gives the file."""
    arrays: dict[str, Any] = dict(weights)
    np.savez(folder / _WEIGHTS, **arrays)
    return folder / _WEIGHTS


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """
    Read weights, of a run's folder or of a file.

    Raises
    ------
    CorpusError
        They are missing, damaged, or something else.
    """
    file = path / _WEIGHTS if path.is_dir() else path
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise CorpusError(f"{file} holds no weights: {error}") from error
