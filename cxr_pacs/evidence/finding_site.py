"""Where a finding lies: the lung, and which one, as far as map and Patient Orientation tell it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.sr.coding import Code

from cxr_pacs.evidence import codes
from cxr_pacs.evidence.image_library import patient_orientation
from cxr_pacs.inference.findings import ClassScore, Withheld

__all__ = ["laterality"]

# direction of the picture's rows in the patient, and side of the picture
_SIDES: Final = MappingProxyType(
    {
        ("L", "left"): codes.RIGHT,
        ("L", "right"): codes.LEFT,
        ("R", "left"): codes.LEFT,
        ("R", "right"): codes.RIGHT,
        ("L", "both"): codes.BILATERAL,
        ("R", "both"): codes.BILATERAL,
    }
)


def laterality(header: Dataset, one: ClassScore | Withheld) -> Code | None:
    """In which lung of the patient the map of `one` mainly lies (CID 244).

    Returns
    -------
    Code or None
        None where it cannot be said: Patient Orientation is missing or not that of an upright frontal view,
        or the lungs could not be told apart. None also for a class that did not reach its threshold, or that
        stands for health: what was not found lies nowhere.

    References
    ----------
    PS3.3 C.7.6.1.1.1 (Patient Orientation); PS3.16 TID 1501, CID 244.
    """
    orientation = patient_orientation(header)
    if not orientation or orientation[1][0] not in "FH":
        return None
    if isinstance(one, Withheld) or one.side is None or not (one.passed and codes.is_disease(one.label)):
        return None
    return _SIDES.get((orientation[0][0], one.side))
