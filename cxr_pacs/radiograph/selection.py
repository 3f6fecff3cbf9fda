"""Is this a frontal chest radiograph that may be read? Accept, skip or hold, with the rung and the reason.

Tags are hints: published audits find body part, view and photometric tags missing or wrong in a large share
of studies. So a decision takes the first rung of evidence that says anything, names it, and is held for a
person when two rungs disagree or none speaks.

- **skip**: not a frontal chest radiograph; nothing is missing and nobody needs to look.
- **hold**: it may be one, but something is missing, contradictory or unreadable; a person should look.

Reasons quote only this package's own vocabulary, never a value of the header, which could hold an identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from cxr_pacs.radiograph import vocabulary as vocab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxr_pacs.radiograph.header import HeaderFacts

__all__ = ["Decision", "Outcome", "SelectionPolicy", "decide", "frontal_view", "names_another_part"]

# Looser than PS3.5 9.1 by leading zeros, which real equipment sends; no "..", no "/", no letters.
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "XR"})
_CLASSES = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    },
)
# A study's description speaks of all its images, the others of this series.
_OF_THE_STUDY = "StudyDescription"


class Outcome(StrEnum):
    """What becomes of an instance."""

    ACCEPT = "accept"
    SKIP = "skip"
    HOLD = "hold"


_PRECEDENCE = (Outcome.SKIP, Outcome.HOLD, Outcome.ACCEPT)


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome, the rung of evidence that settled it, and one sentence why."""

    outcome: Outcome
    rung: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPolicy:
    """What a site may set.

    Attributes
    ----------
    accept_for_processing : bool
        Read DX images for processing too; off, because equipment sends the presentation one as well.
    require_patient_id : bool
        Hold instances whose Patient ID is empty: an archive could not file their results safely.
    minimum_side : int
        Smallest Rows and Columns. Below 128, a network that sees 224 x 224 would judge mostly interpolation:
        such pictures are icons and previews.
    """

    accept_for_processing: bool = False
    require_patient_id: bool = True
    minimum_side: int = 128


class _Projection(StrEnum):
    FRONTAL = "a frontal projection"
    LATERAL = "a lateral projection"
    OTHER = "an oblique, decubitus or other special projection"


def decide(facts: HeaderFacts, policy: SelectionPolicy) -> Decision:
    r"""Decide what becomes of an instance.

    Parameters
    ----------
    facts : HeaderFacts
        From `read_header`.
    policy : SelectionPolicy
        The site's choices.

    Returns
    -------
    Decision
        The first reason to skip; else the first to hold; else acceptance by the rung that named the view.
        Image Type plays no part: real CR is often DERIVED\PRIMARY, and film digitisers write SECONDARY.
    """
    verdicts = [
        *_of_the_class(facts, policy),
        *_of_the_subject(facts),
        *_of_the_body_part(facts),
        *_of_the_view(facts),
        *_of_the_identity(facts, policy),
        *_of_the_image(facts, policy),
    ]
    return min(verdicts, key=lambda verdict: _PRECEDENCE.index(verdict.outcome))


def frontal_view(facts: HeaderFacts) -> str | None:
    """Tell ``PA`` from ``AP`` by View Code Sequence, View Position and the descriptions of the series.

    Returns
    -------
    str or None
        None when nothing names either, or both are named.
    """
    named = vocab.words(facts.view_position).union(
        *(vocab.words(text) for keyword, text in facts.descriptions if keyword != _OF_THE_STUDY)
    )
    codes = set(facts.view_codes)
    views = {
        "PA": codes & vocab.PA_CODES or named & vocab.PA_WORDS,
        "AP": codes & vocab.AP_CODES or named & vocab.AP_WORDS,
    }
    found = [view for view, evidence in views.items() if evidence]
    return found[0] if len(found) == 1 else None


def _skip(rung: str, reason: str) -> Decision:
    return Decision(Outcome.SKIP, rung, reason)


def _hold(rung: str, reason: str) -> Decision:
    return Decision(Outcome.HOLD, rung, reason)


def _of_the_class(facts: HeaderFacts, policy: SelectionPolicy) -> Iterator[Decision]:
    uid = facts.sop_class_uid
    if uid is None:
        yield _hold("sop_class", "SOP Class UID is missing: what kind of object this is cannot be told.")
    elif uid not in _CLASSES:
        yield _skip("sop_class", "Not a CR, DX or Secondary Capture image: this SOP class is not read.")
    for_processing = (
        uid == DigitalXRayImageStorageForProcessing or facts.presentation_intent == "FOR PROCESSING"
    )
    if for_processing and not policy.accept_for_processing:
        yield _skip(
            "presentation_intent", "An image for processing: the one for presentation is read instead."
        )
    if facts.modality and facts.modality not in _RADIOGRAPHY:
        yield _skip("modality", "Modality is not one of projection radiography (CR, DX, RG).")
    elif not facts.modality and uid == SecondaryCaptureImageStorage:
        yield _hold("modality", "A Secondary Capture without Modality: it may be anything.")


def _of_the_subject(facts: HeaderFacts) -> Iterator[Decision]:
    animal = any(vocab.words(text) & vocab.ANIMAL_WORDS for _, text in facts.descriptions)
    other = facts.species and not set(facts.species) & (vocab.HUMAN_CODES | vocab.HUMAN_WORDS)
    if animal or other:
        yield _skip("species", "The header speaks of an animal.")


def names_another_part(body_part: str) -> bool:
    """Whether Body Part Examined surely names another part than the chest; False for what is unknown."""
    return _part(vocab.words(body_part)) is False


def _part(words: frozenset[str]) -> bool | None:
    """Whether `words` name the chest alone (True), another part (False), neither or both (None)."""
    chest, other = bool(words & vocab.CHEST_WORDS), bool(words & vocab.OTHER_PART_WORDS)
    return None if chest == other else chest


def _of_the_body_part(facts: HeaderFacts) -> Iterator[Decision]:
    """Anatomic Region Sequence, then Body Part Examined, then the descriptions (PS3.3 C.7.6.1, 10.5)."""
    series = frozenset().union(*(vocab.words(t) for k, t in facts.descriptions if k != _OF_THE_STUDY))
    study = frozenset().union(*(vocab.words(t) for k, t in facts.descriptions if k == _OF_THE_STUDY))
    region = bool(set(facts.anatomic_regions) & vocab.CHEST_CODES) or None
    examined = _part(vocab.words(facts.body_part))
    if examined is False and region:
        yield _hold("body_part", "Anatomic Region Sequence names the chest, Body Part Examined another part.")
    elif examined is False:
        yield _skip("body_part", "Body Part Examined is not the chest.")
    elif region or examined:
        if _part(series) is False:
            yield _hold(
                "body_part", "The coded body part is the chest, but a description names another part."
            )
    elif facts.anatomic_regions:
        yield _skip("body_part", "Anatomic Region Sequence does not name the chest.")
    elif _part(series) is False or (_part(series) is None and _part(study) is False):
        yield _skip("body_part", "No coded body part, and a description names another part than the chest.")
    elif not (_part(series) or _part(study)):
        yield _hold("body_part", "No element says clearly that this is the chest.")


def _named(words: frozenset[str]) -> _Projection | None:
    """Find the projection that `words` name; None when they name none or several."""
    named = [
        projection
        for projection, vocabulary in (
            (_Projection.OTHER, vocab.OTHER_VIEW_WORDS),
            (_Projection.LATERAL, vocab.LATERAL_WORDS),
            (_Projection.FRONTAL, vocab.FRONTAL_WORDS),
        )
        if words & vocabulary
    ]
    if _Projection.OTHER in named:  # "AP LORDOTIC", "LEFT LATERAL DECUBITUS"
        return _Projection.OTHER
    return named[0] if len(named) == 1 else None


def _by_code(facts: HeaderFacts) -> _Projection | None:
    for codes, projection in (
        (vocab.OTHER_VIEW_CODES, _Projection.OTHER),
        (vocab.LATERAL_CODES, _Projection.LATERAL),
        (vocab.FRONTAL_CODES, _Projection.FRONTAL),
    ):
        if codes & set(facts.view_codes):
            return projection
    return None


def _by_orientation(facts: HeaderFacts) -> _Projection | None:
    r"""Read the directions of rows and columns (PS3.3 C.7.6.1.1.1), e.g. ``L\F``; oblique letters aside."""
    if len(facts.patient_orientation) != 2:
        return None
    axes = {value[:1] for value in facts.patient_orientation}
    if not axes & {"F", "H"}:
        return None
    if axes & {"L", "R"}:
        return _Projection.FRONTAL
    return _Projection.LATERAL if axes & {"A", "P"} else None


def _views(facts: HeaderFacts) -> Iterator[tuple[str, str, _Projection | None]]:
    """Each rung of the ladder: its name, the element in words, what it says."""
    position = vocab.words(facts.view_position)
    lateral = _Projection.LATERAL if position & vocab.LATERAL_POSITIONS else None
    yield "view_code_sequence", "View Code Sequence", _by_code(facts)
    yield "view_position", "View Position", _named(position) or lateral
    yield "patient_orientation", "Patient Orientation", _by_orientation(facts)
    described = [vocab.words(text) for keyword, text in facts.descriptions if keyword != _OF_THE_STUDY]
    yield "description", "a description", next(filter(None, map(_named, described)), None)


def _of_the_view(facts: HeaderFacts) -> Iterator[Decision]:
    """View Code Sequence → View Position → Patient Orientation → descriptions; the first that speaks."""
    speaking = [(rung, element, says) for rung, element, says in _views(facts) if says is not None]
    if not speaking:
        yield _hold("view", "No element names the view: frontal or lateral cannot be told.")
        return
    rung, element, view = speaking[0]
    if view is not _Projection.FRONTAL:
        yield _skip(rung, f"{element[0].upper()}{element[1:]} names {view}.")
        return
    for _, other, says in speaking[1:]:
        if says is not _Projection.FRONTAL:
            yield _hold(rung, f"{element[0].upper()}{element[1:]} names {view}, but {other} names {says}.")
            return
    if facts.patient_orientation and facts.patient_orientation[0][:1] in {"F", "H"}:
        yield _hold("patient_orientation", "Patient Orientation says that the picture lies on its side.")
        return
    yield Decision(Outcome.ACCEPT, rung, f"A chest radiograph; {element} names {view}.")


def _of_the_identity(facts: HeaderFacts, policy: SelectionPolicy) -> Iterator[Decision]:
    for name, uid in (
        ("Study", facts.study_instance_uid),
        ("Series", facts.series_instance_uid),
        ("SOP", facts.sop_instance_uid),
    ):
        if uid is None:
            yield _hold("identity", f"{name} Instance UID is missing: results could not be filed with it.")
        elif len(uid) > 64 or not _UID.fullmatch(uid):
            yield _hold(
                "identity", f"{name} Instance UID is not a valid UID: results could not be filed with it."
            )
    if policy.require_patient_id and not facts.has_patient_id:
        yield _hold("identity", "Patient ID is empty: results could not be filed safely.")


def _of_the_image(facts: HeaderFacts, policy: SelectionPolicy) -> Iterator[Decision]:
    image = facts.image
    if not image.has_pixel_data:
        yield _hold("image", "The object has no pixel data.")
        return
    if image.frames != 1:
        yield _skip("image", "A multi-frame image: only single radiographs are read.")
    if image.samples_per_pixel not in {None, 1} or (
        image.photometric_interpretation not in {"", "MONOCHROME1", "MONOCHROME2"}
    ):
        yield _skip("image", "A colour image: a radiograph is read in grayscale only.")
    elif not image.photometric_interpretation:
        yield _hold("image", "Photometric Interpretation is missing: black and white cannot be told apart.")
    if min(image.rows or 0, image.columns or 0) < policy.minimum_side:
        yield _hold(
            "image",
            f"The picture has {image.rows or 0} x {image.columns or 0} pixels; "
            f"at least {policy.minimum_side} on each side are needed.",
        )
    if problem := image.bits_problem:
        yield _hold("image", problem)
