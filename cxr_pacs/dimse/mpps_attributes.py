"""Which attributes a performed procedure step has, and when (PS3.4 Table F.7.2-1); no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from cxr_pacs.errors import RefusedOperation

__all__ = [
    "COMPLETED",
    "DISCONTINUED",
    "FINAL",
    "IN_PROGRESS",
    "NOT_ALLOWED_IN_N_SET",
    "NO_LONGER_UPDATED",
    "changed",
    "check_creation",
]

IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
DISCONTINUED: Final = "DISCONTINUED"
FINAL: Final = frozenset({COMPLETED, DISCONTINUED})

# PS3.7 annex C, and PS3.4 Table F.7.2-2.
NO_SUCH_ATTRIBUTE = 0x0105
INVALID_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
MISSING_ATTRIBUTE = 0x0120
MISSING_VALUE = 0x0121
NO_LONGER_UPDATED: Final = 0xA710

_STATUS: Final = "PerformedProcedureStepStatus"
_SERIES: Final = "PerformedSeriesSequence"
_UNICODE: Final = "ISO_IR 192"
# What Unicode has in place of bytes that are no character.
_UNREADABLE: Final = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """What must be there with a value (type 1), what must be there (type 2), and what holds of items."""

    filled: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    items: Mapping[str, _Module] = field(default_factory=dict)


_REFERENCE: Final = _Module(filled=("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"))
_SERIES_ITEM: Final = _Module(
    filled=("ProtocolName", "SeriesInstanceUID"),
    present=(
        "PerformingPhysicianName",
        "OperatorsName",
        "SeriesDescription",
        "RetrieveAETitle",
        "ReferencedImageSequence",
        "ReferencedNonImageCompositeSOPInstanceSequence",
    ),
    items={
        "ReferencedImageSequence": _REFERENCE,
        "ReferencedNonImageCompositeSOPInstanceSequence": _REFERENCE,
    },
)
_SCHEDULED_ITEM: Final = _Module(
    filled=("StudyInstanceUID",),
    present=(
        "ReferencedStudySequence",
        "AccessionNumber",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepDescription",
        "ScheduledProtocolCodeSequence",
    ),
    items={"ReferencedStudySequence": _REFERENCE},
)
_CREATION: Final = _Module(
    filled=(
        "ScheduledStepAttributesSequence",
        "PerformedProcedureStepID",
        "PerformedStationAETitle",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        _STATUS,
        "Modality",
    ),
    present=(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "ReferencedPatientSequence",
        "PerformedStationName",
        "PerformedLocation",
        "PerformedProcedureStepDescription",
        "PerformedProcedureTypeDescription",
        "ProcedureCodeSequence",
        "PerformedProcedureStepEndDate",
        "PerformedProcedureStepEndTime",
        "StudyID",
        "PerformedProtocolCodeSequence",
        _SERIES,
    ),
    items={
        "ScheduledStepAttributesSequence": _SCHEDULED_ITEM,
        "ReferencedPatientSequence": _REFERENCE,
        _SERIES: _SERIES_ITEM,
    },
)
_FINAL_STATE: Final = _Module(
    filled=("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", _SERIES),
    items={_SERIES: _SERIES_ITEM},
)
_CHANGE: Final = _Module(items={_SERIES: _SERIES_ITEM})

NOT_ALLOWED_IN_N_SET: Final = frozenset(
    {
        "ScheduledStepAttributesSequence",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence",
        "PatientBirthDate",
        "PatientSex",
        "ReferencedPatientSequence",
        "AdmissionID",
        "IssuerOfAdmissionIDSequence",
        "ServiceEpisodeID",
        "IssuerOfServiceEpisodeIDSequence",
        "ServiceEpisodeDescription",
        "PerformedProcedureStepID",
        "PerformedStationAETitle",
        "PerformedStationName",
        "PerformedLocation",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "Modality",
        "StudyID",
    }
)
"""Keywords that Table F.7.2-1 says an N-SET may not have."""


def check_creation(attributes: Dataset) -> None:
    """
    Check the attribute list of an N-CREATE.

    Raises
    ------
    RefusedOperation
        0120 or 0121 where an attribute or its value is missing, 0106 where the status is not IN PROGRESS or
        text is not in its character set.

    References
    ----------
    PS3.4 F.7.2.1.3, 5.4.2.1.
    """
    _check(attributes, _CREATION)
    _check_text(attributes)
    if str(attributes.PerformedProcedureStepStatus) != IN_PROGRESS:
        raise RefusedOperation(
            f"a step is created with the status {IN_PROGRESS}", status=INVALID_VALUE, attributes=(_STATUS,)
        )


def changed(known: Dataset, modification: Dataset) -> Dataset:
    """
    Give a step as the modification list of an N-SET makes it.

    Parameters
    ----------
    known : Dataset
        The step as it stands; not changed.
    modification : Dataset
        Its text is in the character set that it names, else in that of `known`; not changed.

    Raises
    ------
    RefusedOperation
        0110 with Error ID A710 where the step is final, 0105 for an attribute that may not be set or was not
        created, 0106 for a status that is none and for text that is not in its character set, 0120 or 0121
        where the final state lacks something.

    References
    ----------
    PS3.4 F.7.2.2.2, F.7.2.2.3.
    """
    if known.PerformedProcedureStepStatus in FINAL:
        raise RefusedOperation(
            "Performed Procedure Step Object may no longer be updated",
            status=PROCESSING_FAILURE,
            error_id=NO_LONGER_UPDATED,
        )
    modification = _read_as(known, modification)
    _check_settable(known, modification)
    new_status = str(modification.get(_STATUS))
    if _STATUS in modification and new_status not in FINAL | {IN_PROGRESS}:
        raise RefusedOperation(
            f"the status of a step is {IN_PROGRESS}, {COMPLETED} or {DISCONTINUED}",
            status=INVALID_VALUE,
            attributes=(_STATUS,),
        )
    _check(modification, _CHANGE)
    _check_text(modification)
    merged = _merged(known, modification)
    if new_status in FINAL:
        _check(merged, _FINAL_STATE)
    return merged


def _check_settable(known: Dataset, modification: Dataset) -> None:
    elements = [one for one in modification if one.tag.element and one.keyword != "SpecificCharacterSet"]
    if wrong := tuple(_name(one) for one in elements if one.keyword in NOT_ALLOWED_IN_N_SET):
        raise RefusedOperation(
            f"may not be set: {', '.join(wrong)}", status=NO_SUCH_ATTRIBUTE, attributes=wrong
        )
    if wrong := tuple(_name(one) for one in elements if one.tag not in known):
        raise RefusedOperation(f"not created: {', '.join(wrong)}", status=NO_SUCH_ATTRIBUTE, attributes=wrong)


def _read_as(known: Dataset, modification: Dataset) -> Dataset:
    """Give a modification whose text is read in the character set of `known`, unless it names another.

    Without one it was read as Latin-1, in which every byte is a character: written so, the bytes are again
    those that came.
    """
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, modification)
    encodings = convert_encodings(known.get("SpecificCharacterSet"))
    return read_dataset(
        BytesIO(buffer.getvalue()), is_implicit_VR=True, is_little_endian=True, parent_encoding=encodings
    )


def _check_text(dataset: Dataset) -> None:
    """Raise where bytes are no text of their character set: what is kept would not be what was sent."""
    text = (one for one in dataset.iterall() if one.VR in CUSTOMIZABLE_CHARSET_VR)
    if wrong := tuple(dict.fromkeys(_name(one) for one in text if _UNREADABLE in str(one.value))):
        raise RefusedOperation(
            f"not in its character set: {', '.join(wrong)}", status=INVALID_VALUE, attributes=wrong
        )


def _merged(known: Dataset, modification: Dataset) -> Dataset:
    """Set what is set; text of two character sets becomes Unicode (PS3.4 F.7.2.2.3)."""
    character_set = known.get("SpecificCharacterSet")
    merged, new = Dataset(), Dataset()
    merged.update(known)
    if character_set is not None:
        new.SpecificCharacterSet = character_set
    new.update(modification)
    try:
        merged.decode()
        new.decode()
    except (LookupError, ValueError) as error:  # a conversion that cannot be done, says F.7.2.2.3
        raise RefusedOperation(
            f"text in a character set that cannot be read ({type(error).__name__})",
            status=INVALID_VALUE,
            attributes=("SpecificCharacterSet",),
        ) from None
    differs = "SpecificCharacterSet" in new and new.SpecificCharacterSet != character_set
    merged.update(new)
    if differs:
        merged.SpecificCharacterSet = _UNICODE
    return merged


def _check(dataset: Dataset, module: _Module) -> None:
    """Raise for what is missing, and else for values that are."""
    if missing := tuple(_missing(dataset, module)):
        raise RefusedOperation(f"missing: {', '.join(missing)}", status=MISSING_ATTRIBUTE, attributes=missing)
    if empty := tuple(_empty(dataset, module)):
        raise RefusedOperation(f"without value: {', '.join(empty)}", status=MISSING_VALUE, attributes=empty)


def _missing(dataset: Dataset, module: _Module) -> Iterator[str]:
    yield from (keyword for keyword in module.filled + module.present if keyword not in dataset)
    for item, inner in _items(dataset, module):
        yield from _missing(item, inner)


def _empty(dataset: Dataset, module: _Module) -> Iterator[str]:
    yield from (keyword for keyword in module.filled if not _has_value(dataset, keyword))
    for item, inner in _items(dataset, module):
        yield from _empty(item, inner)


def _items(dataset: Dataset, module: _Module) -> Iterator[tuple[Dataset, _Module]]:
    for keyword, inner in module.items.items():
        for item in dataset.get(keyword) or ():
            yield item, inner


def _has_value(dataset: Dataset, keyword: str) -> bool:
    found = dataset.get(keyword)
    if found is None:
        return False
    return bool(len(found)) if dataset[keyword].VR == "SQ" else bool(str(found).strip())


def _name(element: DataElement) -> str:
    return element.keyword or str(Tag(element.tag))
