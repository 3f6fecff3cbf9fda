"""Data sets made of attributes by name: of a command line, a table's columns, an order's fields."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Mapping
from typing import Final

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, keyword_dict

from cxr_pacs.errors import RefusedItem

__all__ = ["STEP", "STEP_ATTRIBUTES", "assembled", "study_instance_uid", "with_identifiers"]

STEP: Final = "ScheduledProcedureStepSequence"

STEP_ATTRIBUTES: Final = frozenset(
    {
        "CommentsOnTheScheduledProcedureStep",
        "Modality",
        "PreMedication",
        "RequestedContrastAgent",
        "ScheduledPerformingPhysicianName",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepEndDate",
        "ScheduledProcedureStepEndTime",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepLocation",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepStatus",
        "ScheduledProtocolCodeSequence",
        "ScheduledStationAETitle",
        "ScheduledStationName",
    }
)
"""Keywords of the Scheduled Procedure Step (PS3.4 Table K.6-1); given alone they belong into its item."""

# What text can be set to.
_TEXTUAL: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
_WANTED: Final = {
    "AE": "1 to 16 ASCII characters",
    "CS": "up to 16 capital letters, digits, blanks and underscores",
    "DA": "a date YYYYMMDD",
    "LO": "up to 64 characters",
    "PN": "FAMILY^GIVEN of up to 64 characters",
    "SH": "up to 16 characters",
    "TM": "a time HHMMSS",
    "UI": "numbers with dots between them, up to 64 characters",
}
_UUID_ROOT: Final = "2.25."


def assembled(values: Mapping[str, str]) -> Dataset:
    r"""
    Make a data set of attributes by name.

    Parameters
    ----------
    values : mapping of str to str
        By keyword, or by keywords of sequences and of an attribute with dots between them
        (``RequestedProcedureCodeSequence.CodeValue``); a sequence gets one item. Several values
        are separated by a backslash. What is empty is left out.

    Raises
    ------
    RefusedItem
        An attribute that there is not, or a text that its VR does not allow.
    """
    order = Dataset()
    order.SpecificCharacterSet = "ISO_IR 192"
    for path, text in values.items():
        if text.strip():
            _set(order, path, text.strip())
    return order


def _set(order: Dataset, path: str, text: str) -> None:
    keywords = path.split(".")
    if keywords[0] in STEP_ATTRIBUTES:
        keywords.insert(0, STEP)
    place = order
    for sequence in keywords[:-1]:
        if _vr(sequence, path) != "SQ":
            raise RefusedItem(f"{path}: {sequence} is no sequence", attribute=path)
        if sequence not in place:
            setattr(place, sequence, [Dataset()])
        place = place[sequence][0]
    vr = _vr(keywords[-1], path)
    if vr not in _TEXTUAL:
        raise RefusedItem(f"{path}: it has VR {vr}, and cannot be given as text", attribute=path)
    try:
        place.add(DataElement(keyword_dict[keywords[-1]], vr, text, validation_mode=config.RAISE))
    except (ValueError, TypeError, ArithmeticError):
        # The library's message quotes the value.
        wanted = _WANTED.get(vr, f"a value of VR {vr}")
        raise RefusedItem(f"{path}: give {wanted} (PS3.5 6.2, VR {vr})", attribute=path) from None


def _vr(keyword: str, path: str) -> str:
    if keyword not in keyword_dict:
        near = difflib.get_close_matches(keyword, keyword_dict, n=1)
        said = f"; did you mean {near[0]}?" if near else ""
        raise RefusedItem(f"{path}: DICOM has no attribute of this keyword{said}", attribute=path)
    return dictionary_VR(keyword)


def study_instance_uid(namespace: uuid.UUID, values: Mapping[str, str]) -> str:
    """
    Derive the Study Instance UID of a requested procedure: the same order of a site gets the same.

    Parameters
    ----------
    namespace : uuid.UUID
        Of the site.
    values : mapping of str to str
        Attributes by keyword: accession number and Requested Procedure ID; where there is no accession
        number, which alone is unique for all patients, Patient ID and its issuer, too.
    """
    keywords = ["AccessionNumber", "RequestedProcedureID"]
    if not values.get("AccessionNumber", "").strip():
        keywords += ["PatientID", "IssuerOfPatientID"]
    name = "\\".join(["study", *(values.get(keyword, "").strip() for keyword in keywords)])
    return f"{_UUID_ROOT}{uuid.uuid5(namespace, name).int}"


def with_identifiers(values: Mapping[str, str], namespace: uuid.UUID) -> dict[str, str]:
    """
    Add the identifiers that are missing, derived from those that are there.

    Requested Procedure ID and Scheduled Procedure Step ID become the accession number; for the Study
    Instance UID see `study_instance_uid`. The same values give the same identifiers.
    """
    given = {path.removeprefix(f"{STEP}."): text for path, text in values.items() if text.strip()}
    accession_number = given.get("AccessionNumber", "").strip()
    for keyword in ("RequestedProcedureID", "ScheduledProcedureStepID"):
        given.setdefault(keyword, accession_number)
    given.setdefault("StudyInstanceUID", study_instance_uid(namespace, given))
    return given
