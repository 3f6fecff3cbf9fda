"""What every structured document of ours holds: its observer, and items that stand each for itself."""

from __future__ import annotations

import highdicom as hd
from pydicom import Dataset

from cxr_pacs.evidence import codes
from cxr_pacs.inference.findings import ModelIdentity

__all__ = ["observer", "separate"]


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


def separate(container: Dataset) -> None:
    """Mark `container`, and every container below it, as one of separate items (PS3.3 C.18.8).

    Readers run the items of a continuous one, which highdicom makes, into one paragraph without names.
    """
    if "ContinuityOfContent" in container:
        container.ContinuityOfContent = "SEPARATE"
    for item in container.get("ContentSequence") or ():
        separate(item)
