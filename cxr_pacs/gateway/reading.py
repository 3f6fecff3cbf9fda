"""Through the stages: a file in, its decision, findings and heatmap out; instances in, a report out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, FileDataset, dcmread
from pydicom.errors import InvalidDicomError

from cxr_pacs import __version__, evidence, radiograph
from cxr_pacs.errors import EvidenceError, UnreadablePixels
from cxr_pacs.inference import Engine, Findings
from cxr_pacs.radiograph import Decision, Outcome, SelectionPolicy
from cxr_pacs.settings import Settings

__all__ = ["Reader", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of one file.

    Attributes
    ----------
    decision : Decision
        Accept, skip or hold; with the rung of the ladder and one sentence.
    header : Dataset or None
        The data set without its pixels; None when the file is not DICOM.
    findings, heatmap : Findings and FileDataset, or None
        Of an accepted instance only.
    quality : tuple of str
        Remarks on the image, one sentence each.
    """

    decision: Decision
    header: Dataset | None = None
    findings: Findings | None = None
    heatmap: FileDataset | None = None
    quality: tuple[str, ...] = ()


class Reader:
    """Reads files with one engine under one policy.

    Parameters
    ----------
    settings : Settings
        What a site set.
    engine : Engine
        Loaded and warm.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._policy = SelectionPolicy(accept_for_processing=settings.dicom.accept_for_processing)
        self._namespace = settings.site.uid_namespace
        self._output_digest = settings.output_digest()
        self._engine = engine

    def read(self, path: Path, made_at: float) -> Reading:
        """Take one file through radiograph, inference and evidence.

        Parameters
        ----------
        path : Path
            A file, DICOM or not.
        made_at : float
            Seconds since the epoch; pinned as the content time of the heatmap.

        Raises
        ------
        OSError
            The file cannot be read at all.
        """
        try:
            dataset = dcmread(path)
        except (
            InvalidDicomError,
            EOFError,
            ValueError,
            KeyError,
            NotImplementedError,
            AttributeError,
        ) as error:
            sentence = f"The file is not a readable DICOM file ({type(error).__name__})."
            return Reading(decision=Decision(outcome=Outcome.SKIP, rung="file", reason=sentence))
        if evidence.is_own_output(dataset):
            sentence = "This object was made by this software; it is not read again."
            return Reading(decision=Decision(outcome=Outcome.SKIP, rung="own-output", reason=sentence))
        decision = radiograph.decide(radiograph.read_header(dataset), self._policy)
        if decision.outcome is not Outcome.ACCEPT:
            return Reading(decision=decision, header=dataset)
        try:
            image = radiograph.read_radiograph(dataset)
        except UnreadablePixels as error:
            held = Decision(outcome=Outcome.HOLD, rung="pixels", reason=str(error))
            return Reading(decision=held, header=dataset)
        square, geometry = radiograph.squash(image, self._engine.input_size)
        analysis = self._engine.analyse(square)
        del dataset.PixelData
        instance = evidence.ReadInstance(header=dataset, findings=analysis.findings, quality=image.quality)
        shown = analysis.findings.principal
        saliency = next(s for s in analysis.saliency if (s.head, s.label) == (shown.head, shown.label))
        picture = evidence.HeatmapPicture(
            pixels=image.pixels,
            saliency=geometry.to_source(saliency.cells),
            shown=shown,
            aspect=image.aspect,
        )
        try:
            heatmap = _checked(evidence.heatmap(instance, picture, self._stamp(made_at)))
        except EvidenceError as error:
            held = Decision(outcome=Outcome.HOLD, rung="evidence", reason=str(error))
            return Reading(decision=held, header=dataset)
        return Reading(
            decision=decision,
            header=dataset,
            findings=analysis.findings,
            quality=image.quality,
            heatmap=heatmap,
        )

    def report(
        self,
        instances: Sequence[evidence.ReadInstance],
        heatmaps: Sequence[Dataset],
        predecessor: Dataset | None,
        made_at: float,
    ) -> FileDataset:
        """Report the accepted instances of one study.

        Raises
        ------
        EvidenceError
            The report cannot be built, or would not be conformant.
        """
        return _checked(evidence.report(instances, heatmaps, predecessor, self._stamp(made_at)))

    def _stamp(self, made_at: float) -> evidence.Stamp:
        return evidence.Stamp(
            site_namespace=self._namespace,
            configuration_digest=self._output_digest,
            # DICOM times are local to the site unless the header names an offset (PS3.3 C.12.1.1.8).
            made_at=dt.datetime.fromtimestamp(made_at, tz=dt.UTC).astimezone(),
            software_version=__version__,
        )


def _checked(made: FileDataset) -> FileDataset:
    if problems := evidence.check(made):
        raise EvidenceError(f"the {made.Modality} object may not leave: " + "; ".join(problems))
    return made
