"""What inference says of one radiograph: frozen results, with no DICOM in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["WHOLE", "Box", "ClassCode", "ClassScore", "Findings", "ModelIdentity", "Saliency", "Withheld"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of a picture, in shares of its height (`top`, `height`) and width (`left`, `width`)."""

    top: float
    left: float
    height: float
    width: float


WHOLE = Box(top=0.0, left=0.0, height=1.0, width=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCode:
    """What a class label of a bundle means, e.g. SNOMED CT's (840539006, SCT, "COVID-19")."""

    label: str
    value: str
    scheme: str
    meaning: str

    @property
    def name(self) -> str:
        """The class in plain words, for the middle of a sentence: ``bacterial pneumonia``, ``COVID-19``."""
        first, rest = self.meaning[:1], self.meaning[1:]
        return self.meaning if rest[:1].isupper() else first.lower() + rest


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
    classes : tuple of ClassCode
        Every class of every head, each once.
    """

    name: str
    version: str
    digest: str
    device_uid: str
    manufacturer: str
    preprocessing: str
    intended_use: str
    classes: tuple[ClassCode, ...]

    def coded(self, label: str) -> ClassCode:
        """Look up what `label` means; KeyError when it is no class of this model."""
        for code in self.classes:
            if code.label == label:
                return code
        raise KeyError(label)


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
    side : str or None
        In which lung of the *picture* the class's map mainly lies, ``left`` or ``right``, or that it lies in
        ``both``; None where that is not known.
    """

    head: str
    label: str
    score: float
    threshold: float
    side: Literal["left", "right", "both"] | None = None

    @property
    def passed(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A class whose score is not told, and one sentence why."""

    head: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a model says of one radiograph, heads in the bundle's order, labels in the head's order.

    Attributes
    ----------
    scores : tuple of ClassScore
        Of the classes that are told.
    model : ModelIdentity
    withheld : tuple of Withheld
        The other classes.
    """

    scores: tuple[ClassScore, ...]
    model: ModelIdentity
    withheld: tuple[Withheld, ...] = ()

    def head(self, name: str) -> tuple[ClassScore, ...]:
        """Pick the scores of head `name`; empty when none is told."""
        return tuple(s for s in self.scores if s.head == name)

    def labels(self, head: str) -> tuple[str, ...]:
        """Name every class among which `head` decides, told or withheld."""
        both: tuple[ClassScore | Withheld, ...] = (*self.scores, *self.withheld)
        asked = {one.label for one in both if one.head == head}
        # A label that the model does not list is still named, and refused where its meaning is needed.
        known = dict.fromkeys(code.label for code in self.model.classes if code.label in asked)
        return (*known, *sorted(asked - known.keys()))

    def leading(self, name: str) -> ClassScore:
        """Pick the highest score that head `name` tells; ValueError when there is none."""
        return max(self.head(name), key=lambda s: s.score)

    @property
    def principal(self) -> ClassScore | None:
        """What one picture should show; None where nothing is told.

        The highest score of the head that decides among the most classes, of those that tell any.
        """
        if not self.scores:
            return None
        return self.leading(max(self.scores, key=lambda s: len(self.labels(s.head))).head)


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
    first_centre : (float, float)
        Centre of the first cell from the top and from the left of the square, in cells; 0.5 where the cells
        divide the square evenly.
    pitch : float
        From one cell's centre to the next, as a share of the square's side; ``1 / h`` where the cells divide
        the square evenly.
    box : Box
        The part of the picture that was squashed to the square.
    """

    head: str
    label: str
    cells: NDArray[np.float32]
    first_centre: tuple[float, float]
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
        rows, down = self._shares(0, shape[0], (self.box.top, self.box.height))
        columns, across = self._shares(1, shape[1], (self.box.left, self.box.width))
        part = laid[rows, columns]
        np.matmul(down @ self.cells, across.T, out=part)
        np.clip(part, self.cells.min(), self.cells.max(), out=part)  # rounding must not leave the map's range
        return laid

    def _shares(self, axis: int, side: int, span: tuple[float, float]) -> tuple[slice, NDArray[np.float32]]:
        """Pixels of one axis that lie in the box, and which share each cell has in each [pixels, count]."""
        start, length = span
        count = self.cells.shape[axis]
        places = ((np.arange(side) + 0.5) / side - start) / length
        seen = np.flatnonzero((places >= 0) & (places <= 1))
        pixels = slice(int(seen[0]), int(seen[-1]) + 1) if seen.size else slice(0, 0)
        at = np.clip(places[pixels] / self.pitch - self.first_centre[axis], 0, count - 1)
        return pixels, np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, None).astype(np.float32)
