"""Engines: what turns the network's input square into scores and saliency.

TensorFlow takes seconds to import, so it and the network's module wait for `load_engine`.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cxr_pacs.errors import EngineError
from cxr_pacs.inference.findings import ClassScore, Findings, ModelIdentity, Saliency
from cxr_pacs.inference.saliency import activation_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cxr_pacs.inference.bundle import Bundle

__all__ = ["Analysis", "Engine", "load_engine"]

_log = logging.getLogger(__name__)
_ROUNDING = 1e-5  # of an average of values in 0..1
_CHATTER = re.compile(rb"^(WARNING: All log messages before absl::InitializeLog|I\d{4} )")


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What one forward pass says: the scores, and in the same order a saliency map for each."""

    findings: Findings
    saliency: tuple[Saliency, ...]


class Engine(Protocol):
    """Something that runs a bundle; it may be called from several threads at once."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the input square, pixels."""
        ...

    def analyse(self, image: NDArray[np.float32]) -> Analysis:
        """
        Read one radiograph.

        Parameters
        ----------
        image : float32 ndarray, shape (input_size, input_size)
            P-values in 0..1, preprocessed as ``identity.preprocessing`` says.

        Raises
        ------
        ValueError
            `image` has another shape or type, or holds a value outside 0..1.
        """
        ...


def load_engine(bundle: Bundle, device: str) -> Engine:
    """
    Make `bundle` ready: compiled once for one image, and warm.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto`` (the first GPU, else the CPU), ``cpu`` or ``gpu:N``. The first engine of a process being on
        ``cpu`` hides the GPUs from the whole process.

    Raises
    ------
    EngineError
        TensorFlow is not installed, or there is no such device.
    """
    return _TensorFlowEngine(bundle, device)


class _TensorFlowEngine:
    """The Keras network under TensorFlow, traced once with a fixed signature."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        tf = _import_tensorflow()
        network_module = importlib.import_module("cxr_pacs.inference.network")
        self.identity = bundle.identity
        self._manifest = bundle.manifest
        kernels = {head.name: bundle.weights[f"{head.name}/kernel"] for head in bundle.manifest.heads}
        self._kernels = {head: kernel.astype(np.float32) for head, kernel in kernels.items()}
        size, preprocessing = self.input_size, bundle.manifest.preprocessing
        self._on_device = partial(tf.device, _select(tf, device))
        with self._on_device():
            network = network_module.build_network(
                bundle.manifest.architecture, preprocessing.mean, preprocessing.deviation
            )
            network_module.write_weights(network, bundle.weights)

        @tf.function(input_signature=[tf.TensorSpec((1, size, size), tf.float32)])  # type: ignore[untyped-decorator]
        def forward(image: Any) -> Any:
            with self._on_device():  # a trace does not take over the device around it
                return network(image, training=False)

        self._forward = forward
        self._tensor = tf.constant
        self._features = network_module.FEATURES
        self.analyse(np.zeros((size, size), np.float32))

    @property
    def input_size(self) -> int:
        return self._manifest.preprocessing.size

    def analyse(self, image: NDArray[np.float32]) -> Analysis:
        expected = (self.input_size, self.input_size)
        if image.shape != expected or image.dtype != np.float32:
            raise ValueError(f"image is {image.dtype} {image.shape}; the network takes float32 {expected}")
        if not (image.min() >= -_ROUNDING and image.max() <= 1 + _ROUNDING):  # false for NaN too
            raise ValueError("image holds a value outside 0..1")
        with self._on_device():
            outputs = self._forward(self._tensor(image[np.newaxis]))
        features = outputs[self._features].numpy()[0]
        architecture = self._manifest.architecture
        scores: list[ClassScore] = []
        saliency: list[Saliency] = []
        for head in self._manifest.heads:
            shares = _softmax(outputs[head.name].numpy()[0] / head.temperature)
            maps = activation_maps(features, self._kernels[head.name])
            for label, share, cells in zip(head.labels, shares, maps, strict=True):
                scores.append(
                    ClassScore(
                        head=head.name, label=label.name, score=float(share), threshold=label.threshold
                    )
                )
                saliency.append(
                    Saliency(
                        head=head.name,
                        label=label.name,
                        cells=cells,
                        first_centre=architecture.first_centre,
                        pitch=architecture.stride / self.input_size,
                    )
                )
        findings = Findings(scores=tuple(scores), model=self.identity)
        return Analysis(findings=findings, saliency=tuple(saliency))


def _softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _select(tf: Any, device: str) -> str:
    """TensorFlow's name of `device`; GPUs give memory as it is needed, and none to an engine on the CPU."""
    gpus = tf.config.get_visible_devices("GPU")
    wanted = ("gpu:0" if gpus else "cpu") if device == "auto" else device
    if wanted == "cpu":
        # Too late once the runtime is up, e.g. where an engine on a GPU came before: that one keeps its GPU.
        with suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
        return "/CPU:0"
    number = wanted.removeprefix("gpu:")
    if number == wanted or not number.isdecimal():
        raise EngineError(f"device {device!r} is unknown; write auto, cpu or gpu:N")
    if int(number) >= len(gpus):
        raise EngineError(
            f"device {device!r} does not exist: TensorFlow sees {len(gpus)} GPUs; "
            "choose auto or cpu, or install cxr-pacs[gpu] and a driver"
        )
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise EngineError(
            f"device {device!r}: other work of this process has taken its GPUs' memory whole ({error}); "
            "load the engine first"
        ) from error
    return f"/GPU:{number}"


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with _without_chatter():
            tf = importlib.import_module("tensorflow")
            keras = importlib.import_module("keras")
    except ImportError as error:
        raise EngineError(
            f"TensorFlow cannot be imported ({error}); install cxr-pacs[cpu] or cxr-pacs[gpu], exactly one"
        ) from error
    if (backend := keras.backend.backend()) != "tensorflow":
        raise EngineError(f"Keras runs on {backend!r}; set KERAS_BACKEND=tensorflow or unset it")
    return tf


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what native code writes to standard error, then pass on all but TensorFlow's greetings.

    They are written before TensorFlow reads any setting that could silence them.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if _CHATTER.match(line):
                    _log.debug("%s", line.decode(errors="replace").rstrip())
                else:
                    os.write(2, line)
