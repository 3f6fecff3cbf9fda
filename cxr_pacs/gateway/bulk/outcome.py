"""What became of one file, as a record that goes between processes and into the journal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from cxr_pacs.inference import ClassScore, Findings, ModelIdentity, Withheld
from cxr_pacs.radiograph import Decision, Outcome

__all__ = ["FileOutcome", "StudyOutcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """One file's decision and findings, and the names of what was made of it.

    Attributes
    ----------
    decision : Decision
    error : str or None
        Why the file could not be read at all, or what failed: it is tried again the next time.
    sop_instance_uid, study_instance_uid : str or None
        Of a data set that has them.
    content : str or None
        SHA-256 of an accepted data set, without file meta information, as in the ledger.
    scores, withheld : tuple
        As in `Findings`; both empty where nothing was accepted.
    quality : tuple of str
    objects : tuple of str
        File names of what was made, the heatmaps first.
    heatmaps : int
        How many of them are heatmaps of which the report speaks.
    research : bool
        No DICOM, so that there is no study to report.
    """

    decision: Decision
    error: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    content: str | None = None
    scores: tuple[ClassScore, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    quality: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    heatmaps: int = 0
    research: bool = False

    @classmethod
    def failed(cls, rung: str, reason: str) -> FileOutcome:
        """Say why a file could not be read, or what failed."""
        return cls(decision=Decision(outcome=Outcome.HOLD, rung=rung, reason=reason), error=reason)

    @property
    def accepted(self) -> bool:
        """Whether it has findings."""
        return self.decision.outcome is Outcome.ACCEPT and self.error is None

    def findings(self, model: ModelIdentity) -> Findings:
        """Return the findings of an accepted image, which `model` made."""
        return Findings(scores=self.scores, withheld=self.withheld, model=model)

    def told(self) -> dict[str, Any]:
        """Tell of the image: scores by head, and in place of one that is withheld the reason."""
        scores: dict[str, dict[str, float]] = {}
        for score in self.scores:
            scores.setdefault(score.head, {})[score.label] = round(score.score, 6)
        withheld: dict[str, dict[str, str]] = {}
        for one in self.withheld:
            withheld.setdefault(one.head, {})[one.label] = one.reason
        return {
            "sop_instance_uid": self.sop_instance_uid,
            "decision": self.decision.outcome.value,
            "rung": self.decision.rung,
            "reason": self.decision.reason,
            "scores": scores,
            "withheld": withheld,
            "quality": list(self.quality),
        }

    def to_json(self) -> str:
        """Write the record as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FileOutcome:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        decision = fields.pop("decision")
        return cls(
            decision=Decision(
                outcome=Outcome(decision["outcome"]), rung=decision["rung"], reason=decision["reason"]
            ),
            scores=tuple(ClassScore(**score) for score in fields.pop("scores")),
            withheld=tuple(Withheld(**one) for one in fields.pop("withheld")),
            quality=tuple(fields.pop("quality")),
            objects=tuple(fields.pop("objects")),
            **fields,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOutcome:
    """The file names of what was made for a study, or why there is no report."""

    objects: tuple[str, ...] = ()
    error: str | None = None

    @classmethod
    def failed(cls, reason: str) -> StudyOutcome:
        """Say why there is no report."""
        return cls(error=reason)
