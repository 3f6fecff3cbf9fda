"""Engines: what turns a picture into scores and saliency, preprocessing included.

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
from cxr_pacs.inference.architecture import CONVENTIONS
from cxr_pacs.inference.batching import Batches
from cxr_pacs.inference.findings import WHOLE, Box, ClassScore, Findings, ModelIdentity, Saliency
from cxr_pacs.inference.lateral import located
from cxr_pacs.inference.lung_fields import clean_mask, lung_fields
from cxr_pacs.inference.preprocessing import area_average, crop_to_lung_fields, mask_over
from cxr_pacs.inference.saliency import activation_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cxr_pacs.inference.bundle import Bundle
    from cxr_pacs.inference.lung_fields import LungFields
    from cxr_pacs.inference.manifest import Claim

__all__ = ["NO_LUNG_FIELDS", "Analysis", "Engine", "GuidedEngine", "load_engine"]

NO_LUNG_FIELDS = "No lung fields were found; the whole image was read."

_log = logging.getLogger(__name__)
_ROUNDING = 1e-5  # of an average of values in 0..1
_CHATTER = re.compile(rb"^(WARNING: All log messages before absl::InitializeLog|I\d{4} )")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What one forward pass says.

    Attributes
    ----------
    findings : Findings
        Every score of the model, whether it is claimed for this patient or not; with the side on which its
        map lies where the bundle's maps locate anything.
    saliency : tuple of Saliency
        A map for each score, in the same order.
    lungs : bool ndarray, shape (rows, columns), or None
        Lung mask over the picture; all False where no lungs were found, None where the bundle has no lung
        network.
    quality : tuple of str
        Short sentences on what may harm the reading; empty when nothing was found.
    """

    findings: Findings
    saliency: tuple[Saliency, ...]
    lungs: NDArray[np.bool_] | None = None
    quality: tuple[str, ...] = ()


class Engine(Protocol):
    """Something that runs a bundle; it may be called from several threads at once."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks."""
        ...

    @property
    def claims(self) -> tuple[Claim, ...]:
        """For which patients which class is claimed."""
        ...

    def analyse(self, picture: NDArray[np.float32]) -> Analysis:
        """
        Read one radiograph.

        Parameters
        ----------
        picture : float32 ndarray, shape (rows, columns)
            P-values in 0..1, of any shape: preprocessing is the bundle's own.

        Raises
        ------
        ValueError
            `picture` is no float32 array of two dimensions, is empty, or holds a value outside 0..1.
        """
        ...


class GuidedEngine(Engine, Protocol):
    """An engine that can be told where the lungs are, so that network and segmentation are judged apart."""

    def analyse_within(self, picture: NDArray[np.float32], fields: LungFields) -> Analysis:
        """
        Read one radiograph as `analyse` does, but take `fields` for its lung fields and segment nothing.

        A bundle that reads the whole picture has no use for them. ``Analysis.lungs`` is None.

        Raises
        ------
        ValueError
            As `analyse`.
        """
        ...


def load_engine(bundle: Bundle, device: str, largest_batch: int = 1) -> GuidedEngine:
    """
    Make `bundle` ready: compiled once, and warm.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto`` (the first GPU, else the CPU), ``cpu`` or ``gpu:N``. The first engine of a process being on
        ``cpu`` hides the GPUs from the whole process.
    largest_batch : int
        How many of the images that threads ask for at once may share a pass on a GPU. With 1 the same image
        has the same bits each time; in company its scores differ by rounding, less than 1e-5.

    Raises
    ------
    EngineError
        TensorFlow is not installed, or there is no such device.
    """
    return _TensorFlowEngine(bundle, device, largest_batch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Input:
    """The network's input square, where in the picture it lay, and what was found on the way."""

    square: NDArray[np.float32]
    box: Box = WHOLE
    lungs: NDArray[np.bool_] | None = None
    quality: tuple[str, ...] = ()


class _TensorFlowEngine:
    """The Keras networks under TensorFlow, each traced once with a fixed signature."""

    def __init__(self, bundle: Bundle, device: str, largest_batch: int) -> None:
        tf = _import_tensorflow()
        network_module = importlib.import_module("cxr_pacs.inference.network")
        self._manifest = manifest = bundle.manifest
        self.identity = bundle.identity
        self.claims = manifest.claims
        kernels = {head.name: bundle.weights[f"{head.name}/kernel"] for head in manifest.heads}
        self._kernels = {head: kernel.astype(np.float32) for head, kernel in kernels.items()}
        preprocessing = manifest.preprocessing
        place = _select(tf, device)
        self._on_device = partial(tf.device, place)
        self._tensor = tf.constant
        # On a CPU passes run side by side, and company only makes them wait.
        self._largest = largest_batch if "GPU" in place else 1
        self._features = network_module.FEATURES
        with self._on_device():
            network = network_module.build_network(
                manifest.architecture, preprocessing.mean, preprocessing.deviation
            )
            network_module.write_weights(network, bundle.weights)
        self._forward = self._traced(tf, network, preprocessing.size)
        self._see_one = self._each(self._see)
        self._find_lungs = None
        if manifest.lungs is not None and bundle.lungs is not None:
            lungs_module = importlib.import_module("cxr_pacs.inference.lungs")
            with self._on_device():
                lungs = lungs_module.build_lung_network(manifest.lungs.network)
                network_module.write_weights(lungs, bundle.lungs)
            segment = self._traced(tf, lungs, manifest.lungs.size)
            self._find_lungs = self._each(lambda squares: self._segmented(segment, squares))
        self.analyse(np.zeros((preprocessing.size, preprocessing.size), np.float32))

    def _traced(self, tf: Any, network: Any, size: int) -> Callable[[Any], Any]:
        count = 1 if self._largest == 1 else None

        @tf.function(input_signature=[tf.TensorSpec((count, size, size), tf.float32)])  # type: ignore[untyped-decorator]
        def forward(images: Any) -> Any:
            with self._on_device():  # a trace does not take over the device around it
                return network(images, training=False)

        traced: Callable[[Any], Any] = forward
        return traced

    def _each(self, run: Callable[[NDArray[np.float32]], Sequence[Any]]) -> Callable[[Any], Any]:
        """Make of a function of many squares one of a single square, for many threads."""
        if self._largest == 1:
            return lambda square: run(square[np.newaxis])[0]
        return Batches(run, self._largest)

    def _see(self, squares: NDArray[np.float32]) -> list[dict[str, NDArray[np.float32]]]:
        with self._on_device():
            outputs = self._forward(self._tensor(squares))
        arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(squares))]

    def _segmented(
        self, segment: Callable[[Any], Any], squares: NDArray[np.float32]
    ) -> Sequence[NDArray[np.float32]]:
        with self._on_device():
            logits: NDArray[np.float32] = segment(self._tensor(squares)).numpy()
        return tuple(logits)

    def analyse(self, picture: NDArray[np.float32]) -> Analysis:
        _require_p_values(picture)
        return self._read(self._prepare(picture))

    def analyse_within(self, picture: NDArray[np.float32], fields: LungFields) -> Analysis:
        _require_p_values(picture)
        size = self._manifest.preprocessing.size
        if not self._manifest.preprocessing.lung_fields_only:
            return self._read(_Input(square=area_average(picture, (size, size))))
        square, box = crop_to_lung_fields(picture, fields, size)
        return self._read(_Input(square=square, box=box))

    def _read(self, seen: _Input) -> Analysis:
        outputs = self._see_one(seen.square)
        features = outputs[self._features]
        architecture, size = self._manifest.architecture, self._manifest.preprocessing.size
        scores: list[ClassScore] = []
        saliency: list[Saliency] = []
        for head in self._manifest.heads:
            shares = _softmax(outputs[head.name] / head.temperature)
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
                        pitch=architecture.stride / size,
                        box=seen.box,
                    )
                )
        findings = Findings(scores=tuple(scores), model=self.identity)
        if self._manifest.locates:
            findings = located(findings, saliency, seen.lungs)
        return Analysis(findings=findings, saliency=tuple(saliency), lungs=seen.lungs, quality=seen.quality)

    def _prepare(self, picture: NDArray[np.float32]) -> _Input:
        """Preprocess as the manifest says."""
        preprocessing = self._manifest.preprocessing
        shape = (picture.shape[0], picture.shape[1])
        mask = self._lung_mask(picture)
        lungs = None if mask is None else mask_over(mask, shape)
        if mask is None or not preprocessing.lung_fields_only:
            square = area_average(picture, (preprocessing.size, preprocessing.size))
            return _Input(square=square, lungs=lungs)
        fields = lung_fields(mask)
        if fields is None:
            square = area_average(picture, (preprocessing.size, preprocessing.size))
            return _Input(square=square, lungs=lungs, quality=(NO_LUNG_FIELDS,))
        square, box = crop_to_lung_fields(picture, fields, preprocessing.size)
        return _Input(square=square, box=box, lungs=lungs)

    def _lung_mask(self, picture: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Segment the whole lungs on the lung network's own grid; None where there is no such network."""
        if self._find_lungs is None or self._manifest.lungs is None:
            return None
        size = self._manifest.lungs.size
        overview = area_average(picture, (size, size))
        logits = self._find_lungs(overview)
        return clean_mask(logits[..., CONVENTIONS.index("whole")] > 0)


def _require_p_values(picture: NDArray[np.float32]) -> None:
    if picture.ndim != 2 or not picture.size or picture.dtype != np.float32:
        raise ValueError(f"picture is {picture.dtype} {picture.shape}, not float32 [rows, columns]")
    if not (picture.min() >= -_ROUNDING and picture.max() <= 1 + _ROUNDING):  # false for NaN too
        raise ValueError("picture holds a value outside 0..1")


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
