"""A fitted network that says what it sees, for another to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_pacs.inference.network import build_network, write_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxr_pacs.inference.architecture import AnyArchitecture
    from training.steppers import Arrays

__all__ = ["Teacher"]


class Teacher:
    """See the module.

    Parameters
    ----------
    architecture : Architecture or EfficientNetLite0
    weights : mapping
        Of a run of ``cxr-train fit``.
    scale : pair of tuple of 3 float
        Mean and deviation of the P-values, as it was fitted.
    size : int
        Side of its input, pixels.
    """

    def __init__(
        self,
        architecture: AnyArchitecture,
        weights: Arrays,
        scale: tuple[tuple[float, ...], tuple[float, ...]],
        size: int,
    ) -> None:
        self.size = size
        self._heads = [head for head, _ in architecture.heads]
        self._network = build_network(architecture, *scale)
        write_weights(self._network, weights)

    def logits(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Of every head, float32 [films, classes], for images float32 [films, size, size] in 0..1."""
        said = self._network.predict_on_batch(images)
        return {head: said[head] for head in self._heads}
