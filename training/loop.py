"""The fit itself: batches, objective, epochs, checkpoints; how long and at what rate is in `recipe`."""

from __future__ import annotations

import hashlib
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np

from cxr_pacs.inference.preprocessing import BLANK, area_average
from training.classification import Classification
from training.corpus import CorpusError
from training.recipe import HEADS, Plan, Stage
from training.steppers import Setting, stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from training.packed import Packed

    Tensors = Mapping[str, Any]
    Arrays = Mapping[str, NDArray[Any]]
    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["Fit", "Task", "logits", "served"]


class Task(Protocol):
    """What a network is fitted to."""

    def draw(self, stage: Stage, rng: np.random.Generator) -> Batch:
        """Draw one batch: images float32 [n, size, size], and what the objective compares them with."""
        ...

    def objective(self, stage: Stage, outputs: Tensors, targets: Tensors, kernels: Tensors) -> Any:
        """Give the loss, in `keras.ops`; see `training.steppers.Setting`."""
        ...


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
    task : Task, optional
        What it is fitted to; by default the classification of `films`.
    """

    def __init__(self, films: Packed, plan: Plan, run: Path, task: Task | None = None) -> None:
        self._films, self._plan, self._run = films, plan, run
        self._task = task or Classification(films, plan)

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

        Raises
        ------
        CorpusError
            The run folder holds another fit: of other films, by another plan or on another backend.
        """
        keras.utils.set_random_seed(self._plan.seed)
        progress = self._taken_up() or _Progress(weights=self._plan.start)
        while progress.stage < len(self._plan.stages):
            progress = self._go_through(progress, report)
        return dict(progress.weights or {})

    @cached_property
    def _identity(self) -> str:
        """SHA-256 of all that decides how the fit goes on from a checkpoint."""
        settings = {
            "plan": asdict(replace(self._plan, start=None)),
            "task": type(self._task).__name__,
            "backend": keras.backend.backend(),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for column in (self._films.labels, self._films.sources, self._films.views):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def _go_through(self, progress: _Progress, report: Callable[[dict[str, Any]], None]) -> _Progress:
        """Do the rest of one stage; its averaged weights are what the next one starts from."""
        plan, stage = self._plan, self._plan.stages[progress.stage]
        moves = stepper(self._setting(stage), progress.weights)
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

    def _setting(self, stage: Stage) -> Setting:
        plan = self._plan
        heads = {head for head, _ in plan.architecture.heads}

        def moves(layer: str) -> bool:
            in_last = layer in heads or (stage.thawed == "last" and plan.architecture.is_last(layer))
            return stage.thawed == "all" or in_last

        return Setting(
            architecture=plan.architecture,
            mean=plan.mean,
            deviation=plan.deviation,
            objective=partial(self._task.objective, stage),
            moves=moves,
            weight_decay=plan.weight_decay,
            head_share=plan.head_share,
        )

    def _batches(self, stage: Stage, place: tuple[int, int]) -> Iterator[Batch]:
        """Draw an epoch's batches; they depend on seed and place alone, so a fit can be taken up anywhere."""
        rng = np.random.default_rng((self._plan.seed, *place))
        draw = partial(self._task.draw, stage, rng)
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
        place = np.array((progress.stage, progress.epoch))
        np.savez(stream, at=place, of=np.array(self._identity), **arrays)
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
        if str(arrays.pop("of", self._identity)) != self._identity:
            raise CorpusError(
                f"{self._run} holds a fit of other films, by another plan or on another backend of Keras; "
                "name a new folder"
            )
        stage, epoch = arrays.pop("at").tolist()
        kinds: dict[str, dict[str, NDArray[Any]]] = {"weights": {}, "optimizer": {}}
        for key, value in arrays.items():
            kind, _, name = key.partition(":")
            kinds[kind][name] = value
        return _Progress(stage=stage, epoch=epoch, **kinds)


def served(views: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Show `views` (packed) as in serving: float32 [films, size, size]."""
    shown = []
    for view in views:
        pixels, visible = (
            area_average(np.ascontiguousarray(view[..., layer], np.float32) / np.float32(255), (size, size))
            for layer in (0, 1)
        )
        shown.append(np.where(visible >= 0.5, pixels, np.float32(BLANK)))
    return np.stack(shown)


def logits(network: keras.Model, views: NDArray[np.uint8], size: int) -> dict[str, NDArray[np.float32]]:
    """Give every head's logits of packed `views`, float32 [films, classes]."""
    rows = [
        network.predict_on_batch(served(views[start : start + 32], size))
        for start in range(0, len(views), 32)
    ]
    return {head: np.concatenate([row[head] for row in rows]) for head in HEADS}
