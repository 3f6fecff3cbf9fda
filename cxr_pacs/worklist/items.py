"""A worklist item: one scheduled procedure step with its order and its patient (PS3.4 Table K.6-1)."""

from __future__ import annotations

import copy
import io
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from pydicom import DataElement, Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, STR_VR, VR, PersonName

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist.elements import encode_implicit

__all__ = ["FINAL_STATES", "StepState", "WorklistItem"]

_UNICODE: Final = "ISO_IR 192"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_MUST: Final = ("PatientName", "PatientID", "StudyInstanceUID", "RequestedProcedureID")
_MUST_OF_STEP: Final = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "Modality",
    "ScheduledProcedureStepID",
)
_DATE: Final = re.compile(r"\d{8}")
_TIME: Final = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")


class StepState(StrEnum):
    """Scheduled Procedure Step Status (0040,0020), and what comes of it by MPPS or by the order."""

    SCHEDULED = "SCHEDULED"
    ARRIVED = "ARRIVED"  # the patient is there
    READY = "READY"
    STARTED = "STARTED"  # a performed procedure step is in progress
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    CANCELLED = "CANCELLED"  # the order was, or somebody removed the item


FINAL_STATES: Final = frozenset({StepState.COMPLETED, StepState.DISCONTINUED, StepState.CANCELLED})
"""An item in one of these is kept, and no query is answered with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistItem:
    """One scheduled procedure step; made by `of`.

    Attributes
    ----------
    dataset : Dataset
        With exactly one item in Scheduled Procedure Step Sequence; text is
        Unicode. Not to be changed.
    """

    dataset: Dataset

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """
        Check a data set and take a copy of it.

        Raises
        ------
        RefusedItem
            A required attribute is missing, empty or cannot be read; the message names it and no value.
        """
        taken = _decoded(dataset)
        steps: list[Dataset] = list(taken.get("ScheduledProcedureStepSequence") or ())
        if len(steps) != 1:
            raise RefusedItem(
                f"ScheduledProcedureStepSequence (0040,0100) has {len(steps)} items; a worklist item has one",
                attribute="ScheduledProcedureStepSequence",
            )
        for where, keywords in ((taken, _MUST), (steps[0], _MUST_OF_STEP)):
            for keyword in keywords:
                if not _text(where, keyword):
                    raise RefusedItem(f"{keyword} is missing or empty: give it a value", attribute=keyword)
        if not _DATE.fullmatch(_text(steps[0], "ScheduledProcedureStepStartDate")):
            raise RefusedItem(
                "ScheduledProcedureStepStartDate is not a date YYYYMMDD (VR DA)",
                attribute="ScheduledProcedureStepStartDate",
            )
        if not _TIME.fullmatch(_text(steps[0], "ScheduledProcedureStepStartTime")):
            raise RefusedItem(
                "ScheduledProcedureStepStartTime is not a time HHMMSS (VR TM)",
                attribute="ScheduledProcedureStepStartTime",
            )
        item = cls(dataset=taken)
        item._check_lengths()
        return item

    def _check_lengths(self) -> None:
        """Hold what the store finds by against the lengths of PS3.5 6.2."""
        found = {
            "StudyInstanceUID": ((self.text("StudyInstanceUID"),), 64),
            "Modality": ((self.modality,), 16),
            "ScheduledStationAETitle": (self.stations, 16),
        }
        for keyword, (values, most) in found.items():
            if any(len(value) > most for value in values):
                raise RefusedItem(f"{keyword} has more than {most} characters", attribute=keyword)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Read what `to_bytes` gave."""
        return cls(dataset=dcmread(io.BytesIO(encoded), force=True))

    def to_bytes(self) -> bytes:
        """Encode in Implicit VR Little Endian and UTF-8, as a store keeps it."""
        return encode_implicit(self.dataset)

    @property
    def step(self) -> Dataset:
        """The item of Scheduled Procedure Step Sequence."""
        step: Dataset = self.dataset.ScheduledProcedureStepSequence[0]
        return step

    @property
    def key(self) -> str:
        """What tells items apart: accession number, requested procedure ID and step ID."""
        return "\\".join((self.text("AccessionNumber"), self.text("RequestedProcedureID"), self.step_id))

    @property
    def step_id(self) -> str:
        """Scheduled Procedure Step ID (0040,0009)."""
        return _text(self.step, "ScheduledProcedureStepID")

    @property
    def start(self) -> str:
        """Start date and time as one string of digits that sorts: ``YYYYMMDDHHMMSSffffff``."""
        whole, _, fraction = _text(self.step, "ScheduledProcedureStepStartTime").partition(".")
        date = _text(self.step, "ScheduledProcedureStepStartDate")
        return f"{date}{whole.ljust(6, '0')}{fraction.ljust(6, '0')}"

    @property
    def modality(self) -> str:
        """Modality (0008,0060) of the step."""
        return _text(self.step, "Modality")

    @property
    def stations(self) -> tuple[str, ...]:
        """Scheduled Station AE Titles (0040,0001)."""
        found: Any = self.step.ScheduledStationAETitle
        many = [found] if isinstance(found, str) else found
        return tuple(title for one in many if (title := str(one).strip()))

    def text(self, keyword: str) -> str:
        """Value of an attribute of the root, without blanks at its ends; empty where there is none."""
        return _text(self.dataset, keyword)


def _text(dataset: Dataset, keyword: str) -> str:
    found = dataset.get(keyword)
    return "" if found is None else str(found).strip()


def _unicode(value: Any, kind: type[PersonName | str]) -> Any:
    """Give text as Unicode, whatever it was in; ValueError where it was not in its own character set."""
    if isinstance(value, MultiValue):
        return [_unicode(one, kind) for one in value]
    text = unicodedata.normalize("NFC", str(value))
    if _REPLACEMENT in text:
        raise ValueError("not in its Specific Character Set")
    return kind(text)


def _check_null(element: DataElement) -> None:
    if element.VR in STR_VR and "\0" in str(element.value):
        raise ValueError("no database keeps a null character in a text")


def _decoded(dataset: Dataset) -> Dataset:
    # Of one that it does not know the library reads another.
    named: Any = dataset.get("SpecificCharacterSet") or ""
    if not set([named] if isinstance(named, str) else named) <= python_encoding.keys():
        raise RefusedItem(
            "SpecificCharacterSet is none that DICOM defines (PS3.3 C.12.1.1.2)",
            attribute="SpecificCharacterSet",
        )
    taken = copy.deepcopy(dataset)
    try:
        for element in taken.iterall():
            if element.VR == VR.SQ:
                # The store's encoding has lengths (`elements`).
                element.is_undefined_length = False
                for one in element.value:
                    one.is_undefined_length_sequence_item = False
            _check_null(element)
            if element.VR in CUSTOMIZABLE_CHARSET_VR and not element.is_empty:
                element.value = _unicode(element.value, PersonName if element.VR == VR.PN else str)
    except (LookupError, ValueError, TypeError, NotImplementedError, AttributeError, UserWarning) as error:
        raise RefusedItem(f"the item cannot be decoded ({type(error).__name__}): mend its encoding") from None
    for element in list(taken):
        if element.tag.group in {0x0002, 0x0000} or not keyword_for_tag(element.tag):
            del taken[element.tag]
    taken.SpecificCharacterSet = _UNICODE
    return taken
