"""Weights out of the HDF5 files that Keras 1 and 2 wrote, read as plain arrays: no code in a file can run.

References
----------
Layout: ``keras.src.legacy.saving.legacy_h5_format``; a group for each layer, whose attribute ``weight_names``
names its arrays in their order; a nested model is one group that holds the arrays of all its layers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cxr_pacs.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["KerasFile", "StartError", "read_keras_file"]

_MOST_NUMBERS = 1 << 27  # ResNet50 has 25.6 million
_KINDS = {
    "kernel": "kernel",
    "W": "kernel",
    "bias": "bias",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_std": "moving_variance",  # Keras 1 called the variance so
}
_OLD_LAYER = re.compile(r"(?P<kind>res|bn)(?P<stage>[2-5])(?P<block>[a-f])_branch(?P<branch>1|2a|2b|2c)")
_OLD_BRANCHES = {"1": "0", "2a": "1", "2b": "2", "2c": "3"}
_OLD_STEM = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}


class StartError(ConfigurationError):
    """A file cannot be started from; the message names it, and the layer that does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KerasFile:
    """What such a file holds.

    Attributes
    ----------
    path : Path
    weights : mapping of str to float32 ndarray
        Under ``layer/weight``, nested models unfolded, layers named as in today's Keras Applications.
    layers : tuple of (str, mapping)
        Class and configuration of every layer, in order, nested models unfolded; empty where the file holds
        weights alone.
    """

    path: Path
    weights: Mapping[str, NDArray[np.float32]]
    layers: tuple[tuple[str, Mapping[str, Any]], ...]


def read_keras_file(path: Path) -> KerasFile:
    """
    Read a whole model or its weights alone, as ``model.save`` or ``model.save_weights`` wrote it to ``.h5``.

    Raises
    ------
    StartError
        The file cannot be read, is no such file, or holds an array that is none of a network's weights.
    """
    try:
        with h5py.File(path, "r") as file:
            root = _inner(file, "model_weights", path) if "model_weights" in file else file
            weights = dict(_weights(root, path))
            layers = tuple(_layers(file.attrs.get("model_config"), path))
    except (OSError, RuntimeError) as error:
        raise StartError(f"{path} cannot be read as HDF5: {error}") from error
    if not weights:
        raise StartError(f"{path} holds no weights")
    return KerasFile(path=path, weights=weights, layers=layers)


def _weights(root: h5py.Group, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if not (groups := _names(root, "layer_names")):
        raise StartError(
            f"{path} names no layers: it is no .h5 file of Keras 1 or 2; in Keras 3 write it with "
            'model.save("name.h5"), not as .keras or .weights.h5'
        )
    numbers = 0
    for name in groups:
        group = _inner(root, name, path)
        inner = _names(group, "weight_names")
        nested = len({_owner(weight, name) for weight in inner}) > 1
        for weight in inner:
            array = _inner(group, weight, path)
            numbers += math.prod(array.shape) if isinstance(array, h5py.Dataset) else 0
            if numbers > _MOST_NUMBERS:
                raise StartError(f"{path} holds more than {_MOST_NUMBERS} numbers: it is no ResNet50")
            layer = _owner(weight, name) if nested else name
            yield f"{_today(layer)}/{_kind(weight)}", _numbers(array, f"{path}: weight {weight}")


def _inner(group: h5py.Group, name: str, path: Path) -> Any:
    """Return a member of `group` that lies in the same file: links could open any other file."""
    at = group
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or part not in at:
            raise StartError(f"{path}: {name} is named but not there; the file is damaged")
        if not isinstance(at.get(part, getlink=True), h5py.HardLink):
            raise StartError(f"{path}: {name} is a link to elsewhere")
        at = at[part]
    return at


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names; Keras cuts long ones into ``attribute0``, ``attribute1``, …."""
    attributes = group.attrs if isinstance(group, h5py.Group) else {}
    whole = [attribute] if attribute in attributes else []
    pieces = sorted(
        (name for name in attributes if re.fullmatch(rf"{attribute}\d+", name)),
        key=lambda name: int(name.removeprefix(attribute)),
    )
    return [
        name.decode("utf-8") if isinstance(name, bytes) else str(name)
        for piece in whole or pieces
        for name in attributes[piece]
    ]


def _owner(weight: str, group: str) -> str:
    """Return the layer that `weight` says it is of."""
    parts = weight.split("/")
    return parts[-2] if len(parts) > 1 else group


def _kind(weight: str) -> str:
    """Return today's name of a weight: ``res2a_branch2a_W_1:0`` is a kernel."""
    name = re.sub(r"(_\d+)?(:\d+)?$", "", weight.rpartition("/")[2])
    for written, kind in _KINDS.items():
        if name == written or name.endswith(f"_{written}"):
            return kind
    return name


def _today(layer: str) -> str:
    """Return today's name of a ResNet50 layer: ``bn4f_branch2c`` is ``conv4_block6_3_bn``."""
    if not (old := _OLD_LAYER.fullmatch(layer)):
        return _OLD_STEM.get(layer, layer)
    block = "abcdef".index(old["block"]) + 1
    kind = "conv" if old["kind"] == "res" else "bn"
    return f"conv{old['stage']}_block{block}_{_OLD_BRANCHES[old['branch']]}_{kind}"


def _numbers(array: Any, where: str) -> NDArray[np.float32]:
    if not isinstance(array, h5py.Dataset) or array.dtype.kind != "f":
        raise StartError(f"{where} is no array of floating-point numbers")
    if array.is_virtual or array.external:
        raise StartError(f"{where} is kept in another file")
    with np.errstate(over="ignore"):
        numbers = np.asarray(array[()], dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise StartError(f"{where} holds a value that is not finite in single precision")
    return numbers


def _layers(written: str | bytes | None, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if written is None:
        return
    try:
        yield from _unfolded(json.loads(written))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StartError(f"{path}: its model_config cannot be understood ({type(error).__name__})") from error


def _unfolded(layer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    config = layer["config"]
    inner = config if isinstance(config, list) else config.get("layers")  # a list: Keras 1's Sequential
    if inner is None:
        yield str(layer["class_name"]), config
    else:
        for each in inner:
            yield from _unfolded(each)
