"""Files of worklist items: DICOM (``.wl``), the DICOM JSON model, and tables (CSV).

A table's first line names the attributes, by keyword, of which ``PatientName``, ``PatientID``,
``AccessionNumber``, ``ScheduledStationAETitle``, ``Modality``, ``ScheduledProcedureStepStartDate`` and
``ScheduledProcedureStepStartTime`` are needed; identifiers that are missing are derived from the accession
number. Values are separated by commas, semicolons or tabs, whichever the first line has; the text is UTF-8::

    AccessionNumber;PatientID;PatientName;Modality;ScheduledStationAETitle;ScheduledProcedureStepStartDate;…
    A1;P1;Doe^Jane;DX;DX1;20261124;…
"""

from __future__ import annotations

import csv
import io
import json
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydicom import DataElement, Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError

from cxr_pacs.errors import RefusedItem
from cxr_pacs.worklist.assembling import STEP, assembled, with_identifiers
from cxr_pacs.worklist.items import WorklistItem

__all__ = ["Imported", "read_dicom", "read_items"]

_SEPARATORS: Final = ",;\t"
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
# What pydicom raises where the bytes are no data set, or the end of one is missing.
_DAMAGE: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OSError,
    UserWarning,  # where a process takes warnings for errors
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What a file holds.

    Attributes
    ----------
    items : tuple of WorklistItem
        Empty where there is a fault: a file is taken whole, or not at all.
    faults : tuple of str
        Each names where in the file, the attribute, and what to do; no value.
    """

    items: tuple[WorklistItem, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One item of a file, to be made, and where it stands."""

    place: str
    make: Callable[[], WorklistItem]
    column_of: Callable[[str], str] = lambda _: ""


def read_items(path: Path, namespace: uuid.UUID) -> Imported:
    """
    Read a file by the kind that its name tells: ``.csv``, ``.json``, else DICOM.

    Parameters
    ----------
    path : Path
    namespace : uuid.UUID
        Of the site, for the Study Instance UIDs that a table leaves out.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return Imported(faults=(f"it cannot be read: {error.strerror}",))
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            return _collected(_table(content, namespace))
        if suffix == ".json":
            return _collected(_documents(content))
        return Imported(items=(read_dicom(content),))
    except RefusedItem as error:
        return Imported(faults=(str(error),))


def read_dicom(content: bytes) -> WorklistItem:
    """
    Read one item as ``wlmscpfs`` and Orthanc keep it: a data set, with or without a DICOM file's header.

    Raises
    ------
    RefusedItem
        It is none, is not whole, or lacks an attribute.
    """
    try:
        dataset = dcmread(io.BytesIO(content), force=True)
        if not all(map(_is_whole, map(dataset.get_item, dataset.keys()))):
            raise EOFError
        for element in dataset.iterall():
            _ = element.value
    except _DAMAGE:
        raise RefusedItem("it is not a whole DICOM data set: write it anew") from None
    return WorklistItem.of(dataset)


def _is_whole(element: DataElement | RawDataElement | None) -> bool:
    """Whether a file's end does not lie within the value; the library does not mind that."""
    if not isinstance(element, RawDataElement) or element.length == _UNDEFINED_LENGTH:
        return True
    return len(element.value or b"") == element.length


def _collected(entries: Iterator[_Entry]) -> Imported:
    items: list[WorklistItem] = []
    faults: list[str] = []
    places: dict[str, str] = {}
    for entry in entries:
        try:
            item = entry.make()
        except RefusedItem as error:
            column = entry.column_of(error.attribute)
            faults.append(f"{entry.place}{column}: {error}")
            continue
        if (first := places.setdefault(item.key, entry.place)) != entry.place:
            faults.append(f"{entry.place}: the same order and step as {first}: give it another step ID")
        items.append(item)
    if not items and not faults:
        faults.append("there is no item in it")
    return Imported(faults=tuple(faults)) if faults else Imported(items=tuple(items))


def _table(content: bytes, namespace: uuid.UUID) -> Iterator[_Entry]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RefusedItem(f"line {line}: it is not UTF-8: save the table in that encoding") from None
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if len(set(header)) != len(header):
            raise RefusedItem("line 1: a column is named twice")
        while (row := next(rows, None)) is not None:
            if any(cell.strip() for cell in row):
                yield _row(header, row, rows.line_num, namespace)
    except csv.Error as error:
        raise RefusedItem(f"line {rows.line_num}: {error}: mend its quotes") from None


def _row(header: Sequence[str], row: Sequence[str], line: int, namespace: uuid.UUID) -> _Entry:
    def make() -> WorklistItem:
        if len(row) != len(header):
            raise RefusedItem(f"{len(row)} values under {len(header)} columns: mend its separators")
        values = with_identifiers(dict(zip(header, row, strict=True)), namespace)
        return WorklistItem.of(assembled(values))

    def column_of(attribute: str) -> str:
        for name in (attribute, f"{STEP}.{attribute}"):
            if attribute and name in header:
                return f", column {header.index(name) + 1}"
        return ""

    return _Entry(place=f"line {line}", make=make, column_of=column_of)


def _documents(content: bytes) -> Iterator[_Entry]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        place = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise RefusedItem(f"{place}it is not JSON: mend it there") from None
    for number, document in enumerate(found if isinstance(found, list) else [found], start=1):
        yield _Entry(place=f"item {number}", make=partial(_of_json, document))


def _of_json(document: object) -> WorklistItem:
    if not isinstance(document, dict):
        raise RefusedItem("it is not an object of the DICOM JSON model (PS3.18 annex F)")
    try:
        dataset = Dataset.from_json(document)
    except _DAMAGE:
        raise RefusedItem("it is not a data set of the DICOM JSON model (PS3.18 annex F)") from None
    return WorklistItem.of(dataset)
