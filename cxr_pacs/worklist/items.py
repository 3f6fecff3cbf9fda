"""A worklist item: one scheduled procedure step with its order and its patient (PS3.4 Table K.6-1)."""

from __future__ import annotations

import copy
import io
import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from pydicom import DataElement, Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, STR_VR, VR, PersonName

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist.elements import encode_implicit, read_elements, vr_of, write_elements

__all__ = ["FINAL_STATES", "NOT_BEGUN", "StepState", "WorklistItem"]

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


NOT_BEGUN: Final = (StepState.SCHEDULED, StepState.ARRIVED, StepState.READY)
"""States of an item whose step has not begun; a source may name one of them."""

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
        item._check_state()
        item._check_lengths()
        item._check_encoding()
        return item

    def _check_state(self) -> None:
        # Of a step that began elsewhere this worklist would learn no end.
        if (state := _text(self.step, "ScheduledProcedureStepStatus")) and state not in NOT_BEGUN:
            raise RefusedItem(
                f"ScheduledProcedureStepStatus is not one of {', '.join(NOT_BEGUN)}: give an item before its "
                "step begins, and remove it where that has begun elsewhere",
                attribute="ScheduledProcedureStepStatus",
            )

    def _check_lengths(self) -> None:
        """Hold what the store finds by against the lengths of PS3.5 6.2.

        Identifiers and names may have four times as many: orders have long ones, but no index any.
        """
        found = {
            "StudyInstanceUID": ((self.text("StudyInstanceUID"),), 64),
            "Modality": ((self.modality,), 16),
            "ScheduledStationAETitle": (self.stations, 16),
            "ScheduledProcedureStepID": ((self.step_id,), 4 * 16),
            "RequestedProcedureID": ((self.text("RequestedProcedureID"),), 4 * 16),
            "AccessionNumber": ((self.text("AccessionNumber"),), 4 * 16),
            "PatientID": ((self.text("PatientID"),), 4 * 64),
            "IssuerOfPatientID": ((self.text("IssuerOfPatientID"),), 4 * 64),
            "PatientName": (tuple(self.text("PatientName").split("=")), 4 * 64),
        }
        for keyword, (values, most) in found.items():
            if any(len(value) > most for value in values):
                raise RefusedItem(f"{keyword} has more than {most} characters", attribute=keyword)

    def _check_encoding(self) -> None:
        """Make of it all that an answer may be made of."""
        try:
            write_elements(read_elements(self.to_bytes()), explicit=True)
        except (struct.error, ValueError, TypeError, AttributeError, NotImplementedError) as error:
            raise RefusedItem(
                f"the item cannot be encoded ({type(error).__name__}): mend a value that is too long for its "
                "value representation, or not of it"
            ) from None

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
        """What tells items apart: accession number, requested procedure ID and step ID.

        An item without an accession number has, after an empty one, the patient's ID and its issuer.
        """
        order = [self.text("AccessionNumber")]
        if not order[0]:
            order += [self.text("PatientID"), self.text("IssuerOfPatientID")]
        return "\\".join((*order, self.text("RequestedProcedureID"), self.step_id))

    @property
    def step_id(self) -> str:
        """Scheduled Procedure Step ID (0040,0009)."""
        return _text(self.step, "ScheduledProcedureStepID")

    @property
    def state(self) -> StepState | None:
        """Scheduled Procedure Step Status (0040,0020) that its source gives: one of `NOT_BEGUN`, or None."""
        found = _text(self.step, "ScheduledProcedureStepStatus")
        return StepState(found) if found else None

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


def _check_character_set(dataset: Dataset) -> None:
    # Of one that it does not know the library reads another.
    named: Any = dataset.get("SpecificCharacterSet") or ""
    if not set([named] if isinstance(named, str) else named) <= python_encoding.keys():
        raise RefusedItem(
            "SpecificCharacterSet is none that DICOM defines (PS3.3 C.12.1.1.2)",
            attribute="SpecificCharacterSet",
        )


def _check_kind(element: DataElement) -> None:
    if dictionary_has_tag(element.tag) and (vr_of(element.tag) == VR.SQ) != (element.VR == VR.SQ):
        what = "a value, not a sequence" if element.VR == VR.SQ else "a sequence, not a value"
        raise RefusedItem(f"{element.keyword} has to be {what}", attribute=element.keyword)


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    """Items of all sequences, at any depth."""
    for element in dataset:
        if element.VR == VR.SQ:
            for one in element.value:
                yield one
                yield from _nested(one)


def _decoded(dataset: Dataset) -> Dataset:
    _check_character_set(dataset)
    taken = copy.deepcopy(dataset)
    try:
        for one in _nested(taken):
            _check_character_set(one)
        for element in taken.iterall():
            _check_kind(element)
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
    _drop_foreign(taken)
    taken.SpecificCharacterSet = _UNICODE
    return taken


def _drop_foreign(taken: Dataset) -> None:
    for element in list(taken):
        if element.tag.group in {0x0002, 0x0000} or not keyword_for_tag(element.tag):
            del taken[element.tag]
    for one in _nested(taken):
        if "SpecificCharacterSet" in one:
            del one.SpecificCharacterSet
