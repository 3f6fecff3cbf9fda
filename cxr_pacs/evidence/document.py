"""What all structured documents of ours hold: language, observer, a caution, items each for itself."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import highdicom as hd
from pydicom import Dataset

from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ModelIdentity

__all__ = ["caution", "language_of_content", "next_number", "observer", "separate"]

_LANGUAGES: Final = MappingProxyType({"en": codes.ENGLISH, "es": codes.SPANISH})


def language_of_content(language: Language) -> hd.sr.LanguageOfContentItemAndDescendants:
    """TID 1204: the language of all text."""
    return hd.sr.LanguageOfContentItemAndDescendants(hd.sr.CodedConcept.from_code(_LANGUAGES[language]))


def observer(model: ModelIdentity) -> hd.sr.ObservationContext:
    """TID 1001 with the model's artefact as device observer (TID 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=model.device_uid,
        name=model.name,
        manufacturer_name=model.manufacturer,
        model_name=f"{model.name} {model.version}",
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(hd.sr.CodedConcept.from_code(codes.DEVICE), device),
    )


def next_number(predecessors: Sequence[Dataset]) -> int:
    """Instance Number of the document that replaces `predecessors`: 1 where there is none."""
    return 1 + max((int(one.get("InstanceNumber") or 0) for one in predecessors), default=0)


def caution(model: ModelIdentity, language: Language) -> str:
    """Say that this is no diagnosis, and what the model is meant for."""
    use = words.translated(model.intended_use, language)
    return f"{words.DISCLAIMER.say(language)}. {words.sentence(use)}"


def separate(container: Dataset) -> None:
    """Mark `container`, and every container below it, as one of separate items (PS3.3 C.18.8).

    Readers run the items of a continuous one, which highdicom makes, into one paragraph without names.
    """
    if "ContinuityOfContent" in container:
        container.ContinuityOfContent = "SEPARATE"
    for item in container.get("ContentSequence") or ():
        separate(item)
