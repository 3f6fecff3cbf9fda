"""Trains the lung segmentation network on masks that people drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np

from cxr_pacs.inference.architecture import CONVENTIONS
from cxr_pacs.inference.lung_fields import clean_mask
from cxr_pacs.inference.lungs import LungNetwork, build_lung_network
from cxr_pacs.inference.network import write_weights
from cxr_pacs.inference.preprocessing import area_average
from training.corpus import CorpusError, manifest_rows
from training.run_folder import read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "LAYOUT",
    "LungPair",
    "dice",
    "fit_lungs",
    "lung_network",
    "lung_weights",
    "read_lungs",
    "segmenter",
]

LAYOUT = LungNetwork(size=128, widths=(16, 32, 64, 128, 128))
_BATCH, _RATE, _DECAY = 16, 3e-3, 1e-3
_COLUMNS = ("content_box", "image", "mask", "patient_id", "source", "split")
_AERATED = "nlm-"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungPair:
    """A radiograph with the lungs that a person drew.

    Attributes
    ----------
    source, split, patient : str
    convention : int
        Which of `CONVENTIONS` the mask follows: the collections of the NLM leave out heart and opaque lung.
    pixels : uint8 ndarray, shape (rows, columns)
    lungs : bool ndarray, shape (rows, columns)
    """

    source: str
    split: str
    patient: str
    convention: int
    pixels: NDArray[np.uint8]
    lungs: NDArray[np.bool_]


def read_lungs(manifest: Path) -> tuple[LungPair, ...]:
    """
    Read every pair that a manifest names, cut to its content box.

    Raises
    ------
    CorpusError
        No manifest, a missing column, an image or mask that is not there, or a patient in several splits.
    """
    rows = manifest_rows(manifest, _COLUMNS)
    pairs = tuple(_read_pair(manifest, line, row) for line, row in rows)
    seen: dict[str, str] = {}
    for (line, _), pair in zip(rows, pairs, strict=True):
        if seen.setdefault(pair.patient, pair.split) != pair.split:
            raise CorpusError(f"{manifest}, line {line}: its patient is in several splits")
    return pairs


def _read_pair(manifest: Path, line: int, row: Mapping[str, str]) -> LungPair:
    pixels, mask = (
        cv2.imread(str(manifest.parent / row[name]), cv2.IMREAD_GRAYSCALE) for name in ("image", "mask")
    )
    if pixels is None or mask is None or pixels.shape != mask.shape:
        raise CorpusError(f"{manifest}, line {line}: image and mask are not two pictures of one size")
    try:
        left, top, width, height = (int(number) for number in row["content_box"].split(","))
    except ValueError as error:
        raise CorpusError(f"{manifest}, line {line}: content_box is not left,top,width,height") from error
    rows, columns = pixels.shape
    if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
        raise CorpusError(f"{manifest}, line {line}: content_box leaves the picture of {columns} x {rows}")
    box = (slice(top, top + height), slice(left, left + width))
    return LungPair(
        source=row["source"],
        split=row["split"],
        patient=row["patient_id"],
        convention=CONVENTIONS.index("aerated" if row["source"].startswith(_AERATED) else "whole"),
        pixels=np.asarray(pixels[box], np.uint8),
        lungs=np.asarray(mask[box] > 127, np.bool_),
    )


def fit_lungs(
    pairs: Sequence[LungPair], epochs: int, seed: int, report: Callable[[int, float], None]
) -> keras.Model:
    """
    Fit the network on `pairs`; each mask teaches the channel of its convention alone.

    Parameters
    ----------
    pairs : sequence of LungPair
        The training split.
    epochs : int
        Of one pass over `pairs` each; a cosine cycle in all.
    seed : int
    report : callable
        Told epoch and mean loss after each epoch.
    """
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = build_lung_network(LAYOUT)
    keras.config.set_dtype_policy("float32")
    steps = max(1, len(pairs) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps * 9 // 10, warmup_target=_RATE, warmup_steps=max(1, epochs * steps // 10)
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=_DECAY, use_ema=True, ema_momentum=0.99)
    network.compile(optimizer=optimizer, loss=_loss, jit_compile=False)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for _ in range(steps):
            drawn = [pairs[i] for i in rng.integers(len(pairs), size=_BATCH)]
            changed = [_changed(pair, rng) for pair in drawn]
            losses.append(
                network.train_on_batch(
                    np.stack([image for image, _ in changed]), np.stack([t for _, t in changed])
                )
            )
        report(epoch + 1, float(np.mean(losses)))
    optimizer.finalize_variable_values(network.trainable_variables)
    return network


def lung_weights(network: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Copy the weights out, under ``layer/weight``."""
    return {
        f"{layer.name}/{variable.name}": np.asarray(variable, np.float32)
        for layer in network.layers
        for variable in layer.weights
    }


def lung_network(path: Path) -> keras.Model:
    """
    Read the network whose weights `lung_weights` gave, kept as ``.npz``.

    Raises
    ------
    CorpusError
        The file is missing or holds something else; the message names the weight that does not fit.
    """
    network = build_lung_network(LAYOUT)
    weights = read_weights(path)
    for name, shape in LAYOUT.weight_shapes().items():
        if name not in weights or weights[name].shape != shape:
            raise CorpusError(f"{path}: weight {name} is missing or not {shape}")
    write_weights(network, weights)
    return network


def segmenter(network: keras.Model) -> Callable[[NDArray[np.float32]], NDArray[np.bool_]]:
    """Give what finds whole lungs in one square of P-values, float32 [size, size], as the engine does."""

    def segment(square: NDArray[np.float32]) -> NDArray[np.bool_]:
        logits = keras.ops.convert_to_numpy(network(square[np.newaxis], training=False))
        return np.asarray(logits[0, ..., CONVENTIONS.index("whole")] > 0, np.bool_)

    return segment


def dice(network: keras.Model, pairs: Sequence[LungPair]) -> NDArray[np.float64]:
    """Overlap of each pair's mask with the cleaned prediction at the mask's own size (Dice 1945)."""
    return np.array([_overlap(network, pair) for pair in pairs])


def _overlap(network: keras.Model, pair: LungPair) -> float:
    square = area_average(pair.pixels.astype(np.float32) / np.float32(255), (LAYOUT.size, LAYOUT.size))
    logits = keras.ops.convert_to_numpy(network(square[np.newaxis], training=False))[0, ..., pair.convention]
    found = clean_mask(cv2.resize(logits, pair.lungs.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0)
    both = found.sum() + pair.lungs.sum()
    return float(2 * (found & pair.lungs).sum() / both) if both else 1.0


def _loss(target: Any, logits: Any) -> Any:
    """Cross-entropy plus Dice of the channel that the second channel of `target` names."""
    ops = keras.ops
    second = target[..., 1:2]
    truth = target[..., 0:1]
    said = logits[..., 0:1] * (1 - second) + logits[..., 1:2] * second
    share = ops.sigmoid(said)
    overlap = (2 * ops.sum(share * truth, axis=(1, 2, 3)) + 1) / (ops.sum(share + truth, axis=(1, 2, 3)) + 1)
    return ops.mean(ops.binary_crossentropy(truth, said, from_logits=True)) + ops.mean(1 - overlap)


def _changed(pair: LungPair, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Place, stretch, turn, mirror and regrade one pair; children are smaller and films are cut otherwise."""
    size = LAYOUT.size
    rows, columns = pair.pixels.shape
    across, down = np.exp(rng.uniform(-0.3, 0.3, 2))
    angle, mirror = np.deg2rad(rng.uniform(-12, 12)), rng.choice((-1, 1))
    turned = np.array(
        [
            [np.cos(angle) * across * mirror, -np.sin(angle) * down],
            [np.sin(angle) * across * mirror, np.cos(angle) * down],
        ]
    ) @ np.diag((size / columns, size / rows))
    offset = np.full(2, size / 2) + rng.uniform(-0.12, 0.12, 2) * size - turned @ (columns / 2, rows / 2)
    matrix = np.column_stack((turned, offset))
    border = int(rng.choice((cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT)))
    image: Any = pair.pixels.astype(np.float32) / np.float32(255)
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))
    image = cv2.warpAffine(image, matrix, (size, size), borderMode=border)
    mask = cv2.warpAffine(pair.lungs.astype(np.float32), matrix, (size, size))
    image = np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.6, 0.6))
    image = (image - 0.5) * rng.uniform(0.6, 1.3) + 0.5 + rng.uniform(-0.2, 0.2)
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(0, 0.06), image.shape)
    convention = np.full_like(mask, pair.convention)
    target = np.stack((mask, convention), axis=-1)
    return np.clip(image, 0, 1).astype(np.float32), target.astype(np.float32)
