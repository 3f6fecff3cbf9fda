"""What inference says of one radiograph: frozen results, with no DICOM in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WHOLE", "Box", "ClassScore", "Findings", "ModelIdentity", "Saliency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of a picture, in shares of its height (`top`, `height`) and width (`left`, `width`)."""

    top: float
    left: float
    height: float
    width: float


WHOLE = Box(top=0.0, left=0.0, height=1.0, width=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model spoke.

    Attributes
    ----------
    name, version : str
        As in the bundle's manifest.
    digest : str
        SHA-256 of manifest and weights, 64 hexadecimal digits.
    device_uid : str
        UID of this artefact; a retraining has another (IHE AI Results, 6.5.3.1).
    manufacturer : str
        Who answers for the model.
    preprocessing : str
        Short identifier of the preprocessing, e.g. ``squash-area-224``.
    intended_use : str
        The manifest's own words, e.g. ``Research use only``.
    """

    name: str
    version: str
    digest: str
    device_uid: str
    manufacturer: str
    preprocessing: str
    intended_use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class of one head.

    Attributes
    ----------
    head, label : str
        E.g. ``multiclass`` and ``bacterial_pneumonia``.
    score : float
        In [0, 1]; the scores of one head sum to 1.
    threshold : float
        In (0, 1); the bundle's operating point.
    """

    head: str
    label: str
    score: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All scores of one radiograph, heads in the bundle's order, labels in the head's order."""

    scores: tuple[ClassScore, ...]
    model: ModelIdentity

    def head(self, name: str) -> tuple[ClassScore, ...]:
        """Pick the scores of head `name`; empty when the model has no such head."""
        return tuple(s for s in self.scores if s.head == name)

    def leading(self, name: str) -> ClassScore:
        """Pick the highest score of head `name`; ValueError when there is no such head."""
        return max(self.head(name), key=lambda s: s.score)

    @property
    def principal(self) -> ClassScore:
        """The highest score of the head that tells the most classes apart; what one picture should show."""
        return self.leading(max(self.scores, key=lambda s: len(self.head(s.head))).head)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saliency:
    """Class activation map of one class over the network's input square, and where in the picture that lay.

    Attributes
    ----------
    head, label : str
        Whose logit the map explains.
    cells : float32 ndarray, shape (h, w)
        Contribution of each feature cell to the logit, negative part cut off, divided by its maximum:
        in [0, 1]; all zero where no cell argues for the class.
    first_centre : float
        Centre of cell 0 from the edge of the square, in cells; 0.5 where the cells divide the square evenly.
    pitch : float
        From one cell's centre to the next, as a share of the square's side; ``1 / h`` where the cells divide
        the square evenly.
    box : Box
        The part of the picture that was squashed to the square.
    """

    head: str
    label: str
    cells: NDArray[np.float32]
    first_centre: float
    pitch: float
    box: Box = WHOLE

    def over(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Lay the map over the picture.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the picture, or of a smaller copy of it.

        Returns
        -------
        float32 ndarray, shape (rows, columns)
            In [0, 1]: bilinear between cell centres, constant beyond the outermost centres, 0 outside the
            box. Within the box nothing is hidden: what was blanked for the network may still carry weight.
        """
        laid = np.zeros(shape, np.float32)
        rows, down = self._shares(self.cells.shape[0], shape[0], (self.box.top, self.box.height))
        columns, across = self._shares(self.cells.shape[1], shape[1], (self.box.left, self.box.width))
        part = laid[rows, columns]
        np.matmul(down @ self.cells, across.T, out=part)
        np.clip(part, self.cells.min(), self.cells.max(), out=part)  # rounding must not leave the map's range
        return laid

    def _shares(self, count: int, side: int, span: tuple[float, float]) -> tuple[slice, NDArray[np.float32]]:
        """Pixels of one axis that lie in the box, and which share each cell has in each [pixels, count]."""
        start, length = span
        places = ((np.arange(side) + 0.5) / side - start) / length
        seen = np.flatnonzero((places >= 0) & (places <= 1))
        pixels = slice(int(seen[0]), int(seen[-1]) + 1) if seen.size else slice(0, 0)
        at = np.clip(places[pixels] / self.pitch - self.first_centre, 0, count - 1)
        return pixels, np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, None).astype(np.float32)
