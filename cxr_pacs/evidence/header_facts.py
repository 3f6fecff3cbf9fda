"""What the header of an object says to a person, under headings, as a viewer would show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID

from cxr_pacs.evidence.plain import items_of, plain

__all__ = ["Facts", "header_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Labels and values under one heading; only what the header holds."""

    heading: str
    lines: tuple[tuple[str, str], ...]


_HEADINGS: Final = {
    "Patient": (
        ("Name", "PatientName"),
        ("Patient ID", "PatientID"),
        ("Birth date", "PatientBirthDate"),
        ("Sex", "PatientSex"),
        ("Age", "PatientAge"),
    ),
    "Study": (
        ("Date", "StudyDate"),
        ("Time", "StudyTime"),
        ("Description", "StudyDescription"),
        ("Accession number", "AccessionNumber"),
        ("Study UID", "StudyInstanceUID"),
    ),
    "Object": (
        ("Kind", "SOPClassUID"),
        ("Series", "SeriesDescription"),
        ("Modality", "Modality"),
        ("Date", "ContentDate"),
        ("Time", "ContentTime"),
        ("Manufacturer", "Manufacturer"),
        ("Equipment", "ManufacturerModelName"),
        ("Software", "SoftwareVersions"),
        ("Instance UID", "SOPInstanceUID"),
    ),
    "Picture": (
        ("Rows", "Rows"),
        ("Columns", "Columns"),
        ("Colours", "PhotometricInterpretation"),
        ("View", "ViewPosition"),
        ("Orientation", "PatientOrientation"),
        ("Derivation", "DerivationDescription"),
    ),
}

_UNITS: Final = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}


def header_facts(dataset: Dataset) -> tuple[Facts, ...]:
    """Patient, study, object and picture of `dataset`; a heading without any value is left out."""
    found = []
    for heading, lines in _HEADINGS.items():
        read = [(label, _said(keyword, plain(dataset, keyword))) for label, keyword in lines]
        extra = _FURTHER[heading](dataset) if heading in _FURTHER else ()
        present = (*((label, value) for label, value in read if value), *extra)
        if present:
            found.append(Facts(heading=heading, lines=present))
    return tuple(found)


def _provenance(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for equipment in items_of(dataset, "ContributingEquipmentSequence"):
        parts = (plain(equipment, k) for k in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"))
        yield "Contributing", " ".join(part for part in parts if part)
    for observer in items_of(dataset, "VerifyingObserverSequence"):
        name = _said("PatientName", plain(observer, "VerifyingObserverName"))
        code = next(
            (
                plain(c, "CodeMeaning")
                for c in items_of(observer, "VerifyingObserverIdentificationCodeSequence")
            ),
            "",
        )
        of = ", ".join(part for part in (plain(observer, "VerifyingOrganization"), code) if part)
        yield "Verified by", f"{name} ({of}) {_moment(plain(observer, 'VerificationDateTime'))}"
    for uid in _instances(dataset, "PredecessorDocumentsSequence"):
        yield "Replaces", uid


def _sources(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for source in items_of(dataset, "SourceImageSequence"):
        yield "Source image", plain(source, "ReferencedSOPInstanceUID")
    for annotation in items_of(dataset, "GraphicAnnotationSequence"):
        for image in items_of(annotation, "ReferencedImageSequence"):
            yield "Annotates", plain(image, "ReferencedSOPInstanceUID")
        for text in items_of(annotation, "TextObjectSequence"):
            yield "Text", plain(text, "UnformattedTextValue")


_FURTHER: Final = {"Object": _provenance, "Picture": _sources}


def _instances(dataset: Dataset, keyword: str) -> Iterator[str]:
    for study in items_of(dataset, keyword):
        for series in items_of(study, "ReferencedSeriesSequence"):
            for instance in items_of(series, "ReferencedSOPSequence"):
                yield plain(instance, "ReferencedSOPInstanceUID")


def _said(keyword: str, value: str) -> str:
    """`value` as people write it."""
    match keyword:
        case "PatientName":
            groups = (_name(group) for group in value.split("="))
            said = " = ".join(group for group in groups if group)
        case "PatientBirthDate" | "StudyDate" | "ContentDate":
            said = re.sub(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", value)
        case "StudyTime" | "ContentTime":
            said = re.sub(r"^(\d{2})(\d{2})(\d{2})?(\.\d+)?$", _clock, value)
        case "PatientAge":
            said = re.sub(r"^0*(\d+)([DWMY])$", lambda m: f"{m[1]} {_UNITS[m[2]]}", value)
        case "SOPClassUID":
            said = UID(value).name
        case "SoftwareVersions" | "PatientOrientation":
            said = value.replace("\\", ", ")
        case _:
            said = value
    return said


def _moment(value: str) -> str:
    """``2026-01-02 10:20:30`` of a DT (PS3.5 6.2)."""
    return f"{_said('ContentDate', value[:8])} {_said('ContentTime', value[8:14])}".strip()


def _name(group: str) -> str:
    """``Family, Given Middle`` of one component group of a person name (PS3.5 6.2.1.1)."""
    family, *others = (part.strip() for part in group.split("^"))
    return ", ".join(part for part in (family, " ".join(o for o in others if o)) if part)


def _clock(match: re.Match[str]) -> str:
    return ":".join(part for part in match.groups()[:3] if part)
