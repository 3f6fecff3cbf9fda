"""Weights to start a fit from: a published network's ``.h5``, or a bundle of ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cxr_pacs.inference.bundle import MANIFEST, load_bundle
from cxr_pacs.inference.efficientnet import EfficientNetLite0
from training.corpus import CorpusError
from training.keras_file import KerasFile, StartError, read_keras_file
from training.run_folder import PRETRAINING, SETTINGS, read_settings, read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import AnyArchitecture, Architecture

    Weights = Mapping[str, NDArray[np.float32]]

__all__ = ["IMAGENET_DEVIATION", "IMAGENET_MEAN", "LAST", "Start", "StartError", "read_start"]

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in 0..1, as DeepCOVID-XR preprocesses."""

LAST = "last"
"""DeepCOVID-XR's head: one logit of COVID-19, behind a sigmoid."""

PLAIN_MEAN, PLAIN_DEVIATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
"""Of P-values, where nothing asks for another scale."""

_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red, of 0..255
_TOPS = frozenset({"predictions", "fc1000"})
_EPSILON = 1.001e-5  # of our batch normalisation, and of Keras Applications'
_LAYERS = frozenset(
    {
        "Activation",
        "Add",
        "AveragePooling2D",
        "BatchNormalization",
        "Conv2D",
        "Dense",
        "Dropout",
        "Flatten",
        "GlobalAveragePooling2D",
        "InputLayer",
        "MaxPooling2D",
        "ReLU",
        "ZeroPadding2D",
    }
)
_KINDS = {"deepcovid-xr": "DeepCOVID-XR's ResNet50", "imagenet": "Keras' ResNet50 for ImageNet"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """Weights, and how the pictures were prepared that they were fitted on.

    Attributes
    ----------
    kind : str
    weights : mapping of str to float32 ndarray
        Of the whole trunk under ``layer/weight``, and of the heads that came along.
    mean, deviation : tuple of 3 float
        For P-values in 0..1 of the three input channels, in the order of the first convolution. Keras' own
        ResNet50 takes blue, green and red in 0..255 less ImageNet's means, not divided by a deviation
        (``keras.applications.resnet.preprocess_input``), so there the deviation is 1/255.
    size : int or None
        Side of the input square that it was fitted at; None where the file does not say.
    remark : str
        One sentence on where the weights come from.
    """

    kind: Literal["deepcovid-xr", "imagenet", "photographs", "bundle", "pretraining"]
    weights: Weights
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    size: int | None
    remark: str

    def complete(self, architecture: AnyArchitecture, seed: int) -> dict[str, NDArray[np.float32]]:
        """
        Give every weight of `architecture`, of which the trunk must be the one that was read for.

        A head that did not come along, or had another number of classes, is new: drawn as Glorot and Bengio
        (2010) propose, its biases 0.

        Raises
        ------
        StartError
            The trunk has another layer than was read.
        """
        heads = {head for head, _ in architecture.heads}
        rng = np.random.default_rng(seed)
        weights: dict[str, NDArray[np.float32]] = {}
        for name, shape in architecture.weight_shapes().items():
            known = self.weights.get(name)
            if known is not None and known.shape == shape:
                weights[name] = known
            elif name.partition("/")[0] not in heads:
                raise StartError(f"{self.remark} It has no {name} of shape {shape}; read it for this network")
            elif len(shape) == 1:
                weights[name] = np.zeros(shape, np.float32)
            else:
                limit = np.sqrt(6 / sum(shape))
                weights[name] = rng.uniform(-limit, limit, shape).astype(np.float32)
        return weights


def read_start(path: Path, architecture: AnyArchitecture) -> Start:
    """
    Read weights for the trunk of `architecture`.

    Parameters
    ----------
    path : Path
        The folder of a bundle of one network; or that of a run of ``cxr-train pretrain``; or an ``.h5`` file
        of Keras 1 or 2, whole model or weights alone: ResNet50 of
        DeepCOVID-XR (https://github.com/IVPLatNU/DeepCovidXR, ``covid_models/Resnet_model.py``), ending in
        ``Dense(1, activation="sigmoid", name="last")``, or Keras' own for ImageNet, with or without its top.
    architecture : Architecture or EfficientNetLite0
        Of the network to be fitted; its heads need not be those of the file.

    Raises
    ------
    StartError
        The file is not one of these, or a layer of it does not fit; the message names the layer.
    BundleError
        The folder is no sound bundle.
    """
    trunk = replace(architecture, heads=())
    if (path / MANIFEST).is_file():
        return _of_bundle(path, trunk)
    if path.is_dir():
        return _of_run(path, trunk)
    if isinstance(trunk, EfficientNetLite0):
        raise StartError(
            f"{path}: EfficientNet-Lite0 starts from a bundle, or from its weights for ImageNet (.pth)"
        )
    file = read_keras_file(path)
    extra = {name for name in file.weights if name.partition("/")[0] == LAST}
    needed = trunk.weight_shapes()
    if extra:
        needed |= {f"{LAST}/kernel": (trunk.channels, 1), f"{LAST}/bias": (1,)}
    _check_shapes(file.weights, needed, f"{path}")
    _check_layers(file, trunk)
    kind: Literal["deepcovid-xr", "imagenet"] = "deepcovid-xr" if extra else "imagenet"
    return Start(
        kind=kind,
        weights=_with_our_epsilon(file, needed),
        mean=IMAGENET_MEAN if extra else tuple(mean / 255 for mean in _CAFFE_MEAN),
        deviation=IMAGENET_DEVIATION if extra else (1 / 255,) * 3,
        size=_input_side(file),
        remark=f"{_KINDS[kind]}, {path.name}.",
    )


def _of_bundle(path: Path, trunk: AnyArchitecture) -> Start:
    bundle = load_bundle(path)
    manifest = bundle.manifest
    if manifest.network.members:
        raise StartError(f"{path} holds {manifest.network.members} networks; a fit starts from one")
    weights = {name: array.astype(np.float32) for name, array in bundle.weights.items()}
    heads = {head for head, _ in manifest.architecture.heads}
    trunk_only = {name: array for name, array in weights.items() if name.partition("/")[0] not in heads}
    _check_shapes(trunk_only, trunk.weight_shapes(), f"{path}")
    return Start(
        kind="bundle",
        weights=weights,
        mean=manifest.preprocessing.mean,
        deviation=manifest.preprocessing.deviation,
        size=manifest.preprocessing.size,
        remark=f"Bundle {manifest.name} {manifest.version}, SHA-256 {bundle.identity.digest}.",
    )


def _of_run(path: Path, trunk: AnyArchitecture) -> Start:
    try:
        found = read_weights(path)
        # A run from before there were settings has none.
        task = read_settings(path).get("task") if (path / SETTINGS).exists() else PRETRAINING
    except CorpusError as error:
        raise StartError(f"{path} is neither a bundle nor a finished run: {error}") from error
    if task != PRETRAINING:
        raise StartError(f"{path} is a run of cxr-train fit; export it, and start from its bundle")
    weights = {name: found[name] for name in trunk.weight_shapes() if name in found}
    _check_shapes(weights, trunk.weight_shapes(), f"{path}")
    return Start(
        kind="pretraining",
        weights=weights,
        mean=PLAIN_MEAN,
        deviation=PLAIN_DEVIATION,
        size=None,
        remark=f"Features pretrained without classes, {path.name}.",
    )


def _check_shapes(weights: Weights, needed: Mapping[str, tuple[int, ...]], path: str) -> None:
    for name, shape in needed.items():
        layer, _, weight = name.partition("/")
        if name not in weights:
            raise StartError(f"{path}: layer {layer} has no {weight}; the network needs one of shape {shape}")
        if weights[name].shape != shape:
            raise StartError(
                f"{path}: layer {layer} does not fit: its {weight} is {weights[name].shape}, "
                f"the network needs {shape}"
            )
    unknown = [name for name in weights if name not in needed and name.partition("/")[0] not in _TOPS]
    if unknown:
        layer = unknown[0].partition("/")[0]
        raise StartError(
            f"{path}: layer {layer} with weights {weights[unknown[0]].shape} has no place in the network"
        )


def _check_layers(file: KerasFile, trunk: Architecture) -> None:
    """Refuse what has fitting weights but computes something else; nothing to see in weights alone."""
    steps = {"conv1_conv": 2}
    for block in trunk.blocks():
        steps |= {f"{block.name}_{part}_conv": block.stride if part < 2 else 1 for part in range(4)}
    for kind, config in file.layers:
        name = config.get("name", "?")
        if kind not in _LAYERS:
            raise StartError(f"{file.path}: layer {name} is a {kind}, which has no place in the network")
        if config.get("data_format", "channels_last") != "channels_last":
            raise StartError(
                f"{file.path}: layer {name} has its channels first; convert the model to channels last"
            )
        found = _pair(config.get("strides"))
        if name in steps and found != (steps[name],) * 2:
            raise StartError(
                f"{file.path}: layer {name} has strides {found}, the network {(steps[name],) * 2}"
            )
        if name == LAST and config.get("activation") != "sigmoid":
            raise StartError(
                f"{file.path}: layer {name} ends in {config.get('activation')!r}, not in a sigmoid"
            )


def _pair(strides: Any) -> tuple[int, ...]:
    return (strides,) * 2 if isinstance(strides, int) else tuple(strides or ())


def _with_our_epsilon(file: KerasFile, needed: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Move the difference of another epsilon into the variance: only their sum counts."""
    weights = {name: file.weights[name] for name in needed}
    for kind, config in file.layers:
        name = f"{config.get('name')}/moving_variance"
        if kind == "BatchNormalization" and name in weights:
            weights[name] = weights[name] + np.float32(config.get("epsilon", _EPSILON) - _EPSILON)
    return weights


def _input_side(file: KerasFile) -> int | None:
    for _, config in file.layers:
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape:
            sides = tuple(shape[1:3])
            if len(set(sides)) > 1 or shape[3:] != [3]:
                raise StartError(f"{file.path}: its input is {shape[1:]}, not a square of three channels")
            return int(sides[0]) if sides[0] else None
    return None
