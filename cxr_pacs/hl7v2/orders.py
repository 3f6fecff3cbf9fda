"""The orders in a message: ORM^O01 and OMI^O23 as IHE's Procedure Scheduled and Procedure Update have them.

Transactions RAD-4 and RAD-13 (IHE RAD TF-2, 4.4 and 4.13), and the mapping to the worklist (TF-2x, appendix
B).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from pydicom.datadict import dictionary_VR

from cxr_pacs.errors import RefusedMessage
from cxr_pacs.hl7v2.message import Location, Message, Segment
from cxr_pacs.hl7v2.names import of_id_and_name, of_person_name

__all__ = ["DEFAULT_FIELDS", "START", "Order", "orders_of"]

START: Final = "ScheduledProcedureStepStartDateTime"
"""Stands for the start's date and time, which are taken from one field."""

DEFAULT_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "PatientName": ("PID-5",),
        "PatientID": ("PID-3.1",),
        "IssuerOfPatientID": ("PID-3.4.1",),
        "PatientBirthDate": ("PID-7",),
        "PatientSex": ("PID-8",),
        "ReferringPhysicianName": ("PV1-8",),
        "AdmissionID": ("PV1-19.1", "PID-18.1"),
        "CurrentPatientLocation": ("PV1-3.1",),
        "AccessionNumber": ("IPC-1.1", "OBR-18"),
        "PlacerOrderNumberImagingServiceRequest": ("ORC-2.1", "OBR-2.1"),
        "FillerOrderNumberImagingServiceRequest": ("ORC-3.1", "OBR-3.1"),
        "RequestingPhysician": ("OBR-16", "ORC-12"),
        "StudyInstanceUID": ("IPC-3.1", "ZDS-1.1"),
        "RequestedProcedureID": ("IPC-2.1", "OBR-19"),
        "RequestedProcedureDescription": ("OBR-44.2", "OBR-4.2"),
        "RequestedProcedureCodeSequence": ("OBR-44", "OBR-4"),
        "RequestedProcedurePriority": ("TQ1-9.1", "ORC-7.6", "OBR-27.6", "OBR-5"),
        "ReasonForTheRequestedProcedure": ("OBR-31.2", "OBR-31.1"),
        "PatientState": ("OBR-12.2", "OBR-12.1"),
        "MedicalAlerts": ("OBR-13",),
        "PatientTransportArrangements": ("OBR-30",),
        "ScheduledStationAETitle": ("IPC-9", "OBR-21", "ORC-18.1"),
        START: ("TQ1-7", "ORC-7.4", "OBR-27.4", "OBR-36"),
        "Modality": ("IPC-5.1", "OBR-24"),
        "ScheduledPerformingPhysicianName": ("OBR-34.1",),
        "ScheduledProcedureStepID": ("IPC-4.1", "OBR-20"),
        "ScheduledProcedureStepDescription": ("IPC-6.2", "OBR-4.5", "OBR-4.2"),
        "ScheduledProtocolCodeSequence": ("IPC-6", "OBR-4.4"),
        "ScheduledStationName": ("IPC-7.1",),
        "ScheduledProcedureStepLocation": ("IPC-8.2", "IPC-8.1"),
    }
)
"""Where each attribute comes from: the first of these fields that has a value."""

# HL7 tables 0001 and 0485 (TF-2x, table B-1, note 1); what is not here is unknown, or no priority.
_SEXES: Final = {"F": "F", "M": "M", "O": "O", "A": "O"}
_PRIORITIES: Final = {"S": "STAT", "A": "HIGH", "R": "ROUTINE", "P": "HIGH", "C": "HIGH", "T": "MEDIUM"}
_NO_TIMESTAMP: Final = "it is not a time stamp YYYYMMDD[HHMM[SS]] (data type TS)"
_TIMESTAMP: Final = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
# A year or a month alone, as of a birth that nobody knows better; DICOM has no such date.
_PART_OF_DATE: Final = re.compile(r"\d{4}(\d{2})?([+-]\d{4})?")
_MEANINGS: Final = ("CodeValue", "CodeMeaning", "CodingSchemeDesignator")
_OF_MANY_LINES: Final = frozenset({"LT", "ST", "UT"})
# Characters (PS3.5 6.2) of what only describes, and is cut rather than refused.
_LENGTHS: Final = {"LO": 64, "SH": 16}
_DESCRIBING: Final = frozenset(
    {
        "CurrentPatientLocation",
        "MedicalAlerts",
        "PatientState",
        "PatientTransportArrangements",
        "ReasonForTheRequestedProcedure",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepLocation",
        "ScheduledStationName",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One scheduled procedure step of an order.

    Attributes
    ----------
    control : str
        ORC-1, Order Control Code.
    status : str
        ORC-5, Order Status.
    orc : str
        Which ORC it is, for an answer (data type ERL without a field).
    values : mapping of str to str
        Attributes of the worklist item.
    places : mapping of str to str
        The field that each attribute came from, or where it was looked for (data type ERL).
    """

    control: str
    status: str
    orc: str
    values: Mapping[str, str]
    places: Mapping[str, str]


def orders_of(message: Message, fields: Mapping[str, Sequence[str]]) -> tuple[Order, ...]:
    """
    Read the orders of a message, one for each IPC segment, or each OBR that has none.

    Parameters
    ----------
    message : Message
    fields : mapping of str to sequence of str
        As `DEFAULT_FIELDS`.

    Raises
    ------
    RefusedMessage
        There is no order, or a field does not hold what it must.
    """
    places = {path: tuple(map(Location.parse, named)) for path, named in fields.items()}
    found = tuple(_order(scope, places) for scope in _scopes(message))
    if not found:
        raise RefusedMessage("ORC: there is no order in it", answer="AE", code=100, place="ORC^1")
    return found


def _scopes(message: Message) -> Iterator[Mapping[str, Segment]]:
    """Give the segments that speak of each step, by name; of several the first."""
    head: dict[str, Segment] = {}
    groups: list[dict[str, list[Segment]]] = []
    study: dict[str, Segment] = {}
    for segment in message.segments:
        if segment.name == "ZDS":
            # It stands at the end of an ORM, and speaks of all its orders.
            study.setdefault("ZDS", segment)
        if segment.name == "ORC":
            groups.append({})
        elif segment.name == "OBR" and groups and "OBR" in groups[-1]:
            groups.append({"ORC": groups[-1]["ORC"]})
        if groups:
            groups[-1].setdefault(segment.name, []).append(segment)
        else:
            head.setdefault(segment.name, segment)
    for group in groups:
        own = {name: segments[0] for name, segments in group.items()}
        for step in group.get("IPC", [None]):
            yield head | study | own | ({} if step is None else {"IPC": step})


def _order(scope: Mapping[str, Segment], fields: Mapping[str, Sequence[Location]]) -> Order:
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    for path, locations in fields.items():
        there = [one for one in locations if one.segment in scope]
        first = (there or [*locations])[0]
        places[path] = f"{first.segment}^1^{first.field}" if not there else scope[first.segment].place(first)
        for location in there:
            segment = scope[location.segment]
            try:
                taken = _taken(path, segment, location)
            except ValueError as error:
                said = f"{location.segment}-{location.field}: {error}"
                raise RefusedMessage(said, answer="AE", code=102, place=segment.place(location)) from None
            if taken:
                values |= taken
                places |= dict.fromkeys([path, *taken], segment.place(location))
                break
    for start in ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"):
        places.setdefault(start, places.get(START, ""))
    orc = scope["ORC"]
    return Order(
        control=orc.text(Location(segment="ORC", field=1)),
        status=orc.text(Location(segment="ORC", field=5)),
        orc=f"ORC^{orc.occurrence}",
        values=values,
        places=places,
    )


def _taken(path: str, segment: Segment, location: Location) -> dict[str, str]:
    """Give the attributes that a field holds; nothing where it is empty. ValueError tells what is wrong."""
    if path == START:
        return _start(segment.text(location))
    vr = dictionary_VR(path.rpartition(".")[2])
    if vr == "SQ":
        return _code(path, segment, location)
    if vr == "PN":
        read = of_person_name if location.segment == "PID" else of_id_and_name
        text = read(segment, location)
    else:
        text = _CONVERTED.get(path, _BY_VR.get(vr, str))(segment.text(location))
    if "\\" in text and vr not in _OF_MANY_LINES:
        raise ValueError("a backslash cannot be in a DICOM value")
    if path in _DESCRIBING:
        text = text[: _LENGTHS[vr]]
    return {path: text} if text else {}


def _code(path: str, segment: Segment, location: Location) -> dict[str, str]:
    """Give identifier, text and coding system (data types CE and CWE), if all three are there and fit."""
    first = max(location.component, 1)
    parts = [
        segment.text(Location(segment=segment.name, field=location.field, component=first + number))
        for number in range(len(_MEANINGS))
    ]
    value, meaning, scheme = parts
    if not all(parts) or max(len(value), len(scheme)) > _LENGTHS["SH"]:
        return {}
    found = (value, meaning[: _LENGTHS["LO"]], scheme)
    return {f"{path}.{keyword}": part for keyword, part in zip(_MEANINGS, found, strict=True)}


def _start(text: str) -> dict[str, str]:
    """Give date and time: midnight where there is a day only, and local time for one with a zone."""
    if not text:
        return {}
    date, time, zone = _timestamp(text)
    if zone and time:
        whole = f"{date}{time[:6].ljust(6, '0')}{zone}"
        try:
            moment = datetime.strptime(whole, "%Y%m%d%H%M%S%z").astimezone()
        except (ValueError, OverflowError):
            raise ValueError(_NO_TIMESTAMP) from None
        date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    return {"ScheduledProcedureStepStartDate": date, "ScheduledProcedureStepStartTime": time or "000000"}


def _timestamp(text: str) -> tuple[str, str, str]:
    if not (found := _TIMESTAMP.fullmatch(text)):
        raise ValueError(_NO_TIMESTAMP)
    date, time, zone = found.groups(default="")
    try:
        datetime.strptime(date + time[:6].ljust(6, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007  only tried
    except ValueError:
        raise ValueError(_NO_TIMESTAMP) from None
    return date, time, zone


def _date(text: str) -> str:
    return "" if not text or _PART_OF_DATE.fullmatch(text) else _timestamp(text)[0]


_CONVERTED: Final[Mapping[str, Callable[[str], str]]] = {
    "PatientSex": lambda text: _SEXES.get(text.upper(), ""),
    "RequestedProcedurePriority": lambda text: _PRIORITIES.get(text.upper()[:1], ""),
}
_BY_VR: Final[Mapping[str, Callable[[str], str]]] = {"DA": _date}
