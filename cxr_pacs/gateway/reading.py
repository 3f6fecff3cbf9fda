"""Through the stages: a file in, its decision, findings and heatmap out; instances in, a report out."""

from __future__ import annotations

import datetime as dt
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, FileDataset, dcmread
from pydicom.uid import BasicTextSRStorage, KeyObjectSelectionDocumentStorage

from cxr_pacs import __version__, evidence, radiograph
from cxr_pacs.errors import EvidenceError, UnreadablePixels
from cxr_pacs.inference import Analysis, Engine, Findings, Patient, withhold
from cxr_pacs.radiograph import Decision, Geometry, Outcome, Radiograph, SelectionPolicy
from cxr_pacs.settings import Settings

__all__ = ["Beside", "OpenedFile", "Reader", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Objects that a study can do without.

    Attributes
    ----------
    objects : tuple of FileDataset
        Those that the settings want and that may leave.
    left_out : tuple of str
        For each other one that they want, what it is and why it may not.
    """

    objects: tuple[FileDataset, ...] = ()
    left_out: tuple[str, ...] = ()


_NOTHING = Beside()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """One file, before anything is made of it.

    Attributes
    ----------
    decision : Decision
        Accept, skip or hold; with the rung of the ladder and one sentence.
    dataset : Dataset or None
        None when the file is not DICOM.
    """

    decision: Decision
    dataset: Dataset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of one file.

    Attributes
    ----------
    decision : Decision
        Accept, skip or hold; with the rung of the ladder and one sentence.
    header : Dataset or None
        The data set without its pixels; None when the file is not DICOM.
    findings : Findings or None
        Of an accepted instance only; without what the model does not claim for the patient.
    heatmap : FileDataset or None
        Of the class that the findings lead with; None where all of them are withheld.
    quality : tuple of str
        Remarks on the image, one sentence each.
    beside : Beside
        Second picture, segmentation and presentation state of the same map, where the settings want them.
    """

    decision: Decision
    header: Dataset | None = None
    findings: Findings | None = None
    heatmap: FileDataset | None = None
    quality: tuple[str, ...] = ()
    beside: Beside = _NOTHING

    @property
    def pictures(self) -> tuple[FileDataset, ...]:
        """The heatmap, and what stands beside it; none where every class is withheld."""
        return () if self.heatmap is None else (self.heatmap, *self.beside.objects)


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
        self._language = settings.evidence.language
        self._style = evidence.HeatmapStyle(size=settings.heatmap.size, encoding=settings.heatmap.encoding)
        self._second_picture = settings.heatmap.second_without_text
        self._objects = settings.objects
        self._engine = engine

    def read(self, path: Path, made_at: float) -> Reading:
        """Take one file through radiograph, inference and evidence: `open`, then `analyse`."""
        return self.analyse(self.open(path), made_at)

    def open(self, path: Path) -> OpenedFile:
        """Decide on one file, DICOM or not; OSError when it cannot be read at all."""
        return self.open_part10(path.read_bytes())

    def open_part10(self, content: bytes) -> OpenedFile:
        """Decide on the content of a file, DICOM or not."""
        try:
            dataset = dcmread(io.BytesIO(content))
        except Exception as error:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
            sentence = f"The file is not a readable DICOM file ({type(error).__name__})."
            return OpenedFile(decision=_skip("file", sentence))
        if evidence.is_own_output(dataset):
            sentence = "This object was made by this software; it is not read again."
            return OpenedFile(decision=_skip("own-output", sentence), dataset=dataset)
        decision = radiograph.decide(radiograph.read_header(dataset), self._policy)
        return OpenedFile(decision=decision, dataset=dataset)

    def analyse(self, opened: OpenedFile, made_at: float) -> Reading:
        """Take a file, if it is accepted, through inference and evidence.

        Parameters
        ----------
        opened : OpenedFile
            Its data set is without its pixels afterwards.
        made_at : float
            Seconds since the epoch; pinned as the content time of the heatmap.
        """
        dataset, decision = opened.dataset, opened.decision
        if dataset is None:
            return Reading(decision=decision)
        accepted = decision.outcome is Outcome.ACCEPT
        reading = (
            self._read_dataset(dataset, decision, made_at)
            if accepted
            else Reading(decision=decision, header=dataset)
        )
        # The header goes on, and many wait for their report at once: not with their pixels.
        dataset.pop("PixelData", None)
        return reading

    def _read_dataset(self, dataset: Dataset, decision: Decision, made_at: float) -> Reading:
        facts = radiograph.read_header(dataset)
        try:
            image = radiograph.read_radiograph(dataset)
            part, geometry = radiograph.valid_part(image)
            analysis = self._engine.analyse(part)
            patient = Patient(age_years=facts.age_years, view=radiograph.frontal_view(facts))
            instance = evidence.ReadInstance(
                header=dataset,
                findings=withhold(analysis.findings, self._engine.claims, patient),
                quality=(*image.quality, *analysis.quality),
            )
            picture = _picture(instance.findings, image, geometry, analysis)
            stamp = self._stamp(made_at)
            heatmap = (
                None if picture is None else _checked(evidence.heatmap(instance, picture, stamp, self._style))
            )
            beside = _NOTHING if picture is None else self._beside_heatmap(instance, picture, stamp)
        except UnreadablePixels as error:
            return Reading(decision=_hold("pixels", str(error)), header=dataset)
        except EvidenceError as error:
            return Reading(decision=_hold("evidence", str(error)), header=dataset)
        return Reading(
            decision=decision,
            header=dataset,
            findings=instance.findings,
            quality=instance.quality,
            heatmap=heatmap,
            beside=beside,
        )

    def _beside_heatmap(
        self, instance: evidence.ReadInstance, picture: evidence.HeatmapPicture, stamp: evidence.Stamp
    ) -> Beside:
        second = functools.partial(evidence.heatmap_without_text, style=self._style)
        wanted = (
            ("second picture", second, self._second_picture),
            ("segmentation", evidence.segmentation, self._objects.segmentation),
            ("presentation state", evidence.presentation_state, self._objects.presentation_state),
        )
        return _beside(
            {
                name: functools.partial(make, instance, picture, stamp)
                for name, make, is_wanted in wanted
                if is_wanted
            }
        )

    def report(
        self,
        instances: Sequence[evidence.ReadInstance],
        heatmaps: Sequence[Dataset],
        predecessors: Sequence[Dataset],
        made_at: float,
    ) -> FileDataset:
        """Report the accepted instances of one study.

        Raises
        ------
        EvidenceError
            The report cannot be built, or would not be conformant.
        """
        return _checked(evidence.report(instances, heatmaps, predecessors, self._stamp(made_at)))

    def beside_report(
        self, study: evidence.ReportedStudy, predecessors: Mapping[str, Sequence[Dataset]], made_at: float
    ) -> Beside:
        """Key object selection and plain report of a reported study, where the settings want them.

        Parameters
        ----------
        study : ReportedStudy
            The report, and what it was made of.
        predecessors : mapping of str to sequence of Dataset
            What these objects replace, by SOP Class UID.
        made_at : float
            As for the report.
        """
        stamp = self._stamp(made_at)
        key_objects = predecessors.get(KeyObjectSelectionDocumentStorage, ())
        plain_report = predecessors.get(BasicTextSRStorage, ())
        wanted = (
            ("key object selection", evidence.key_objects, key_objects, self._objects.key_objects),
            ("plain report", evidence.plain_report, plain_report, self._objects.plain_report),
        )
        return _beside(
            {
                name: functools.partial(make, study, earlier, stamp)
                for name, make, earlier, is_wanted in wanted
                if is_wanted
            }
        )

    def _stamp(self, made_at: float) -> evidence.Stamp:
        return evidence.Stamp(
            site_namespace=self._namespace,
            configuration_digest=self._output_digest,
            # DICOM times are local to the site unless the header names an offset (PS3.3 C.12.1.1.8).
            made_at=dt.datetime.fromtimestamp(made_at, tz=dt.UTC).astimezone(),
            software_version=__version__,
            language=self._language,
        )


def _picture(
    findings: Findings, image: Radiograph, geometry: Geometry, analysis: Analysis
) -> evidence.HeatmapPicture | None:
    """Lay the map of the leading class over the radiograph; None where every class is withheld."""
    shown = findings.principal
    if shown is None:
        return None
    saliency = next(s for s in analysis.saliency if (s.head, s.label) == (shown.head, shown.label))
    return evidence.HeatmapPicture(
        pixels=image.pixels,
        saliency=geometry.place(saliency.over((geometry.height, geometry.width))),
        shown=shown,
        aspect=image.aspect,
    )


def _skip(rung: str, reason: str) -> Decision:
    return Decision(outcome=Outcome.SKIP, rung=rung, reason=reason)


def _hold(rung: str, reason: str) -> Decision:
    return Decision(outcome=Outcome.HOLD, rung=rung, reason=reason)


def _beside(wanted: Mapping[str, Callable[[], FileDataset | None]]) -> Beside:
    """Make objects that a study can do without: the fault of one keeps nothing else back."""
    objects, left_out = [], []
    for name, make in wanted.items():
        try:
            made = make()
            objects += [] if made is None else [_checked(made)]
        except EvidenceError as error:
            left_out.append(f"{name}: {error}")
    return Beside(objects=tuple(objects), left_out=tuple(left_out))


def _checked(made: FileDataset) -> FileDataset:
    if problems := evidence.check(made):
        raise EvidenceError(f"the {made.Modality} object may not leave: " + "; ".join(problems))
    return made
