"""Who made an object and which one it is: deterministic UIDs, and how we know our own outputs again."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID

from cxr_pacs.evidence.words import Language

__all__ = ["EQUIPMENT_MODEL", "MANUFACTURER", "Stamp", "instance_uid", "is_own_output", "series_uid"]

MANUFACTURER: Final = "cxr-pacs project"
EQUIPMENT_MODEL: Final = "cxr-pacs"

_UUID_ROOT: Final = "2.25."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What all objects made from one study share: what pins their UIDs and times, and their language.

    Attributes
    ----------
    site_namespace : uuid.UUID
        Namespace of this installation's UIDs (RFC 9562, 6.5).
    configuration_digest : str
        Digest of every setting that changes an object's content.
    made_at : dt.datetime
        When the analysis began, with its time zone. From the ledger, so that a second attempt has the same.
    software_version : str
        Version of cxr-pacs.
    language : str
        Of the text in documents and pictures: ``en`` or ``es``.

    Raises
    ------
    ValueError
        `made_at` has no time zone.
    """

    site_namespace: uuid.UUID
    configuration_digest: str
    made_at: dt.datetime
    software_version: str
    language: Language = "en"

    def __post_init__(self) -> None:
        if self.made_at.tzinfo is None:
            raise ValueError("Stamp.made_at needs a time zone")


def instance_uid(stamp: Stamp, sources: Iterable[str], model_digest: str, kind: str) -> UID:
    """SOP Instance UID (or tracking UID) of the output `kind` made from the instances `sources`.

    These are images, and of a report those that it replaces: so each report of a chain is another one, also
    where a site goes back to what it had. What stands beside a report is made from that report.

    The same arguments give the same UID, in whatever order the sources come (PS3.5 B.2: ``2.25.`` and the
    decimal UUID, at most 44 characters).
    """
    name = "|".join([*sorted(sources), model_digest, kind, stamp.configuration_digest])
    return UID(f"{_UUID_ROOT}{uuid.uuid5(stamp.site_namespace, name).int}")


def series_uid(stamp: Stamp, study_uid: str, model_digest: str, kind: str) -> UID:
    """Series Instance UID of all outputs `kind` of one study, model and software version."""
    return instance_uid(stamp, [study_uid], model_digest, f"series|{kind}|{stamp.software_version}")


def is_own_output(dataset: Dataset) -> bool:
    """Whether `dataset` (a header is enough) was made by cxr-pacs, here or elsewhere.

    Both marks must be there: a SOP Instance UID that holds a name-based UUID, and our equipment.
    """
    return (
        _holds_named_uuid(str(dataset.get("SOPInstanceUID", "")))
        and dataset.get("Manufacturer") == MANUFACTURER
        and dataset.get("ManufacturerModelName") == EQUIPMENT_MODEL
    )


def _holds_named_uuid(uid: str) -> bool:
    digits = uid.removeprefix(_UUID_ROOT)
    # 39 decimal digits hold 128 bits
    if digits == uid or not (digits.isascii() and digits.isdecimal() and len(digits) <= 39):
        return False
    number = int(digits)
    return number < 1 << 128 and uuid.UUID(int=number).version == 5
