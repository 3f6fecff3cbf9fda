"""Learning from teachers: what they say of each changed film, which is more than its class.

Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015; teacher and student see the very
same view: Beyer et al., Knowledge distillation: A good teacher is patient and consistent, CVPR 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_pacs.inference.preprocessing import area_average
from training.augment import augment
from training.classification import INSIDE, Classification, at_cells
from training.recipe import HEADS, Plan, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.packed import Packed
    from training.teacher import Teacher

    Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]

__all__ = ["Distillation"]

_TEMPERATURE = 2.0


class Distillation(Classification):
    """Every head's probabilities as the teachers' mean logits give them, and maps that stay inside the lungs.

    Parameters
    ----------
    films : Packed
        The training split alone; of the teachers too.
    plan : Plan
    teachers : sequence of Teacher
        One at least.
    """

    def __init__(self, films: Packed, plan: Plan, teachers: Sequence[Teacher]) -> None:
        super().__init__(films, plan)
        self._teachers = teachers

    def draw(self, stage: Stage, rng: np.random.Generator) -> Batch:
        """Draw one batch: images float32 [batch, size, size], and each head's probabilities."""
        drawn, side = self.drawn(rng), max(stage.size, *(teacher.size for teacher in self._teachers))
        made = [augment(self._films.views[i], side, stage.augmentation, rng) for i in drawn]
        images = np.stack([image for image, _ in made])
        said = [teacher.logits(_at(images, teacher.size)) for teacher in self._teachers]
        targets = {}
        for head, labels in HEADS.items():
            logits = np.mean([one[head] for one in said], axis=0) / _TEMPERATURE
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            known = np.isin(self._films.labels[drawn], labels)[:, None]
            targets[head] = np.asarray(known * powers / powers.sum(axis=1, keepdims=True), np.float32)
        lungs = _at(np.stack([mask for _, mask in made]), stage.size)
        targets[INSIDE] = np.stack([at_cells(one, self._plan.architecture) for one in lungs])
        return _at(images, stage.size), targets

    def entropy(self, target: Any, logits: Any) -> Any:
        """As `Classification.entropy`, of logits divided by the temperature, and times it."""
        return _TEMPERATURE * super().entropy(target, logits / _TEMPERATURE)


def _at(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Average square `images` down to `side`."""
    if images.shape[1] == side:
        return images
    return np.stack([area_average(image, (side, side)) for image in images])
