"""The fit itself: batches, objective, epochs, checkpoints; how long and at what rate is in `recipe`."""

from __future__ import annotations

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np

from cxr_pacs.inference.network import FEATURES
from cxr_pacs.inference.preprocessing import BLANK, area_average
from training.augment import augment
from training.recipe import HEADS, Plan, Stage
from training.splits import group_weights
from training.steppers import Setting, stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.packed import Packed

    Arrays = Mapping[str, NDArray[Any]]
    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["Fit", "logits", "served"]

_INSIDE = "inside"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """Where a fit stands: so many epochs of a stage are done, with these weights and this optimiser."""

    stage: int = 0
    epoch: int = 0
    weights: Arrays | None = None
    optimizer: Arrays | None = None


class Fit:
    """One fit in its run folder; started again there, it goes on after the last whole epoch.

    Parameters
    ----------
    films : Packed
        The training split alone.
    plan : Plan
    run : Path
        Where ``checkpoint.npz`` and ``log.jsonl`` lie.
    """

    def __init__(self, films: Packed, plan: Plan, run: Path) -> None:
        self._films, self._plan, self._run = films, plan, run
        self._chances = group_weights(films.labels.tolist(), films.sources.tolist())

    def weights(self, report: Callable[[dict[str, Any]], None]) -> dict[str, NDArray[np.float32]]:
        """
        Fit, or take up what was begun.

        Parameters
        ----------
        report : callable
            Told after every epoch: stage, size, epoch, of, loss, rate, images_per_second.

        Returns
        -------
        dict
            Averaged weights after the last stage, float32, under ``layer/weight``.
        """
        keras.utils.set_random_seed(self._plan.seed)
        progress = self._taken_up() or _Progress(weights=self._plan.start)
        while progress.stage < len(self._plan.stages):
            progress = self._go_through(progress, report)
        return dict(progress.weights or {})

    def _go_through(self, progress: _Progress, report: Callable[[dict[str, Any]], None]) -> _Progress:
        """Do the rest of one stage; its averaged weights are what the next one starts from."""
        plan, stage = self._plan, self._plan.stages[progress.stage]
        moves = stepper(_setting(plan, stage), progress.weights)
        if progress.optimizer:
            moves.restore(progress.optimizer)
        steps, epochs = plan.steps(stage), plan.epochs(stage)
        for epoch in range(progress.epoch, epochs):
            started, losses, rate = time.monotonic(), [], 0.0
            for step, (images, targets) in enumerate(self._batches(stage, (progress.stage, epoch)), start=1):
                rate = stage.rate((epoch * steps + step) / (epochs * steps + 1))
                losses.append(moves.step(images, targets, rate))
            self._keep(
                _Progress(
                    stage=progress.stage, epoch=epoch + 1, weights=moves.weights(), optimizer=moves.state()
                )
            )
            line = {
                "stage": progress.stage + 1,
                "size": stage.size,
                "epoch": epoch + 1,
                "of": epochs,
                "loss": round(float(np.mean(losses)), 4),
                "rate": float(f"{rate:.3g}"),
                "images_per_second": round(steps * plan.batch / (time.monotonic() - started), 1),
            }
            with (self._run / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            report(line)
        moves.settle(self._settling(stage.size))
        done = _Progress(stage=progress.stage + 1, epoch=0, weights=moves.weights())
        self._keep(done)
        return done

    def _batches(self, stage: Stage, place: tuple[int, int]) -> Iterator[Batch]:
        """Draw an epoch's batches; they depend on seed and place alone, so a fit can be taken up anywhere."""
        rng = np.random.default_rng((self._plan.seed, *place))
        films, batch = self._films, self._plan.batch
        cells = self._plan.architecture.stride

        def draw() -> Batch:
            drawn = rng.choice(len(films), batch, p=self._chances)
            made = [augment(films.views[i], stage.size, stage.augmentation, rng) for i in drawn]
            targets = {
                head: _smoothed(films.labels[drawn], labels, stage.smoothing)
                for head, labels in HEADS.items()
            }
            targets[_INSIDE] = np.stack([_at_cells(lungs, cells) for _, lungs in made])
            return np.stack([image for image, _ in made]), targets

        # One thread draws while the network moves; one alone, so that draws keep their order.
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(draw)
            for _ in range(self._plan.steps(stage) - 1):
                ready, coming = coming, pool.submit(draw)
                yield ready.result()
            yield coming.result()

    def _settling(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Give the training films as they are served, shuffled, in batches."""
        order = np.random.default_rng(self._plan.seed).permutation(len(self._films))
        batch = 2 * self._plan.batch
        for start in range(0, len(order), batch):
            yield served(self._films.views[order[start : start + batch]], size)

    def _keep(self, progress: _Progress) -> None:
        arrays = {
            f"{kind}:{name}": value
            for kind in ("weights", "optimizer")
            for name, value in (getattr(progress, kind) or {}).items()
        }
        stream = io.BytesIO()
        np.savez(stream, at=np.array((progress.stage, progress.epoch)), **arrays)
        self._run.mkdir(parents=True, exist_ok=True)
        fresh = self._run / "checkpoint.new"
        fresh.write_bytes(stream.getvalue())
        fresh.replace(self._run / "checkpoint.npz")

    def _taken_up(self) -> _Progress | None:
        try:
            with np.load(self._run / "checkpoint.npz", allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            return None
        stage, epoch = arrays.pop("at").tolist()
        kinds: dict[str, dict[str, NDArray[Any]]] = {"weights": {}, "optimizer": {}}
        for key, value in arrays.items():
            kind, _, name = key.partition(":")
            kinds[kind][name] = value
        return _Progress(stage=stage, epoch=epoch, **kinds)


def _setting(plan: Plan, stage: Stage) -> Setting:
    ops = keras.ops

    def objective(outputs: Mapping[str, Any], targets: Mapping[str, Any], kernels: Mapping[str, Any]) -> Any:
        """Cross-entropy of every head, and the share of its positive activation maps outside the lungs."""
        loss = 0.0
        outside = 1.0 - targets[_INSIDE][..., None]
        for head in HEADS:
            target = targets[head]
            # A film outside a head's labels has a target of zeros and so no share in that head's loss.
            entropy = ops.categorical_crossentropy(target, outputs[head], from_logits=True)
            loss += ops.sum(entropy) / ops.maximum(ops.sum(target), 1.0)
            maps = ops.relu(ops.matmul(outputs[FEATURES], kernels[head]))
            astray = ops.sum(maps * outside, axis=(1, 2)) / (ops.sum(maps, axis=(1, 2)) + 1e-3)
            loss += stage.outside * ops.mean(astray)
        return loss

    last = f"conv{len(plan.architecture.stages) + 1}_"

    def moves(layer: str) -> bool:
        return stage.thawed == "all" or layer in HEADS or (stage.thawed == "last" and layer.startswith(last))

    return Setting(
        architecture=plan.architecture,
        mean=plan.mean,
        deviation=plan.deviation,
        objective=objective,
        moves=moves,
        weight_decay=plan.weight_decay,
    )


def _smoothed(truth: NDArray[np.str_], labels: tuple[str, ...], smoothing: float) -> NDArray[np.float32]:
    """Smoothed one-hot rows; zeros for a film whose label the head does not know."""
    hot = (truth[:, None] == np.array(labels)).astype(np.float32)
    known = hot.sum(axis=1, keepdims=True)
    rows = known * (hot * np.float32(1 - smoothing) + np.float32(smoothing / len(labels)))
    return np.asarray(rows, np.float32)


def _at_cells(mask: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Average the mask around the centre of each feature cell, pixel ``i * stride``."""
    side = -(-mask.shape[0] // stride)
    smooth = cv2.blur(mask, (stride, stride), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth[::stride, ::stride][:side, :side], np.float32)


def served(views: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Show `views` (packed) as in serving: float32 [films, size, size]."""
    pixels = views[..., 0].astype(np.float32) / np.float32(255)
    shown = np.where(views[..., 1] >= 128, pixels, np.float32(BLANK))
    return np.stack([area_average(one, (size, size)) for one in shown])


def logits(network: keras.Model, views: NDArray[np.uint8], size: int) -> dict[str, NDArray[np.float32]]:
    """Every head's logits of packed `views`, float32 [films, classes]."""
    rows = [
        network.predict_on_batch(served(views[start : start + 32], size))
        for start in range(0, len(views), 32)
    ]
    return {head: np.concatenate([row[head] for row in rows]) for head in HEADS}
