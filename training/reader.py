"""Reads radiographs whole, and knows where their lungs are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_pacs.inference.lung_fields import lung_fields
from training.corpus import CorpusError
from training.occlusion import fields_over

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cxr_pacs.inference import Analysis, ClassScore, Engine, GuidedEngine, Saliency
    from cxr_pacs.inference.lung_fields import LungFields

__all__ = ["Reader", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """One radiograph as the model reads it, and where its lungs are.

    Attributes
    ----------
    picture : float32 ndarray, shape (rows, columns)
    analysis : Analysis
    lungs : bool ndarray, shape (rows, columns)
    fields : LungFields or None
        None where too little lung was found.
    """

    picture: NDArray[np.float32]
    analysis: Analysis
    lungs: NDArray[np.bool_]
    fields: LungFields | None

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """The lung fields over the picture."""
        shape = (self.picture.shape[0], self.picture.shape[1])
        return None if self.fields is None else fields_over(self.fields, shape)

    @property
    def shown(self) -> ClassScore:
        """The leading class of the head that decides among the most classes."""
        shown = self.analysis.findings.principal
        if shown is None:
            raise ValueError("the analysis tells no score")
        return shown

    @property
    def saliency(self) -> Saliency:
        """Its activation map."""
        shown = self.shown
        return next(s for s in self.analysis.saliency if (s.head, s.label) == (shown.head, shown.label))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """The model to be explained.

    Attributes
    ----------
    engine : GuidedEngine
    segmenter : Engine
        Whose lung masks are taken for true; the same engine, or one that runs another bundle.
    """

    engine: GuidedEngine
    segmenter: Engine

    @property
    def fields_only(self) -> bool:
        """Whether the engine's bundle blanks all but the lung fields."""
        return self.engine.identity.preprocessing.startswith("lung-fields-")

    def read(self, picture: NDArray[np.float32]) -> Reading:
        """
        Read one radiograph whole.

        Raises
        ------
        CorpusError
            The segmenter's bundle has no lung network.
        """
        analysis = self.engine.analyse(picture)
        own = self.segmenter is self.engine
        lungs = analysis.lungs if own else self.segmenter.analyse(picture).lungs
        if lungs is None:
            model = self.segmenter.identity
            raise CorpusError(
                f"bundle {model.name} {model.version} has no lung network, so nothing says where the lungs "
                "are; name a bundle that has one with --lungs"
            )
        return Reading(picture=picture, analysis=analysis, lungs=lungs, fields=lung_fields(lungs))
