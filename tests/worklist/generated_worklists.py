"""Hypothesis strategies: worklist items of values close to each other, and queries that tell them apart."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

__all__ = ["STEPS", "code", "items", "plain_item", "plain_query", "queries"]

STEPS = "ScheduledProcedureStepSequence"

_NAMES = (
    "Doe^John",
    "DOE^JANE",
    "Doe^John^M^Dr",
    "Doe",
    "Müller^Jürgen",
    "Smith-Jones^Mary",
    "O'Neil^Pat",
    "Roe^Richard^^^Jr",
)
_ASKED_NAMES = (
    "Doe^John",
    "doe^john",
    "DOE*",
    "*john*",
    "D?e^J*",
    "Doe",
    "Müller*",
    "mÜLLER*",
    "*",
    "Doe^*",
    "Roe^Richard*",
)
_CODES = ("C1", "C2")

# Values of an item, and what is asked; None is an attribute that is not there.
_ROOT: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "PatientName": (_NAMES, _ASKED_NAMES),
    "PatientID": (("P1", "P12", "p1", "Q-1", "P 1"), ("P1", "P*", "p*", "P?", "?", "P 1")),
    "PatientBirthDate": (
        ("19700101", "19800229", ""),
        ("19700101", "19700101-19800301", "-19750101", "19750101-"),
    ),
    "PatientSex": (("M", "F", "O", ""), ("M", "?")),
    "PatientWeight": (("70", "70.0", "82.5", None), ("70",)),
    "StudyInstanceUID": (("1.2.3", "1.2.31", "1.2.4"), ("1.2.3", ["1.2.3", "1.2.4"])),
    "RequestedProcedureID": (("R1", "R2", "r1"), ("R1", "R*")),
    "RequestedProcedureDescription": (("Chest PA", "chest pa", "Hand", None), ("Chest PA", "Chest*", "*")),
    "RequestedProcedurePriority": (("ROUTINE", "STAT", None), ("STAT", "*")),
    "ReferringPhysicianName": ((*_NAMES, None), _ASKED_NAMES),
}
_STEP: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "Modality": (("DX", "CR", "CT"), ("DX", "C?", "*")),
    "ScheduledStationAETitle": (("DX1", "DX2", "CR1", ["DX1", "CR1"]), ("DX1", "CR1", "DX*")),
    "ScheduledProcedureStepStartDate": (
        ("20251231", "20260101", "20260102", "20260103"),
        ("20260101", "20260101-20260102", "-20260101", "20260102-"),
    ),
    "ScheduledProcedureStepStartTime": (
        ("08", "0830", "083000", "120000.5", "173000", "235959", "000000"),
        ("083000", "08", "0800-0900", "1700-0900", "-120000", "1200-", "083000-083000"),
    ),
    "ScheduledPerformingPhysicianName": ((*_NAMES, None), _ASKED_NAMES),
    "ScheduledProcedureStepDescription": (("Chest PA", "Hand", None), ("Chest PA", "*PA", "hand")),
    "ScheduledProcedureStepStatus": (
        ("SCHEDULED", "ARRIVED", "READY"),
        ("SCHEDULED", "ARRIVED", "STARTED"),
    ),
    "ScheduledStationName": (("R1", None), ("R1", "R*")),
}
_SEQUENCES = {"RequestedProcedureCodeSequence": False, "ScheduledProtocolCodeSequence": True}
_DATE = "ScheduledProcedureStepStartDate"
_UNKNOWN = "SeriesInstanceUID"


def code(value: str) -> Dataset:
    """An item of a code sequence."""
    one = Dataset()
    one.CodeValue, one.CodingSchemeDesignator, one.CodeMeaning = value, "99TEST", f"Chest {value}"
    return one


_codes = st.lists(st.sampled_from(_CODES), max_size=2, unique=True)


@st.composite
def _item(draw: st.DrawFn, number: int) -> Dataset:
    item, step = Dataset(), Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.AccessionNumber = f"A{number:03}"
    step.ScheduledProcedureStepID = f"S{number}"
    for where, table in ((item, _ROOT), (step, _STEP)):
        for keyword, (values, _) in table.items():
            value = draw(st.sampled_from(values))
            if value is not None:
                setattr(where, keyword, value)
    for keyword, of_step in _SEQUENCES.items():
        if codes := draw(_codes):
            setattr(step if of_step else item, keyword, [code(one) for one in codes])
    setattr(item, STEPS, [step])
    return item


def items(many: int) -> st.SearchStrategy[tuple[Dataset, ...]]:
    """So many items, told apart by their accession numbers ``A000`` and so on."""
    return st.tuples(*(_item(number) for number in range(many)))


def _set(where: Dataset, keyword: str, wanted: Any) -> None:
    # A wildcard is not of the value representation CS, says pydicom; in a key it is (PS3.4 C.2.2.2.4).
    tag = Tag(keyword)
    where.add(DataElement(tag, dictionary_VR(tag), wanted, validation_mode=IGNORE))


def plain_item(**changed: Any) -> Dataset:
    """The item ``A000``, its values the first of those here but for the changed ones."""
    item, step = Dataset(), Dataset()
    item.AccessionNumber, step.ScheduledProcedureStepID = "A000", "S0"
    for where, table in ((item, _ROOT), (step, _STEP)):
        for keyword, (values, _) in table.items():
            value = changed.get(keyword, values[0])
            if value is not None:
                setattr(where, keyword, value)
    setattr(item, STEPS, [step])
    return item


def plain_query(**wanted: Any) -> Dataset:
    """An identifier with these keys."""
    asked, step = Dataset(), Dataset()
    asked.AccessionNumber = ""
    for keyword, value in wanted.items():
        _set(step if keyword in _STEP else asked, keyword, value)
    setattr(asked, STEPS, [step])
    return asked


@st.composite
def queries(draw: st.DrawFn) -> Dataset:
    """An identifier that constrains at most four keys, and asks others back."""
    asked, step = Dataset(), Dataset()
    asked.SpecificCharacterSet = "ISO_IR 100"
    asked.AccessionNumber = draw(st.sampled_from(("", "", "", "A00*", "A001", "a001")))
    constrained = draw(st.sets(st.sampled_from([*_ROOT, *_STEP, *_SEQUENCES]), max_size=4))
    returned = draw(st.sets(st.sampled_from([*_ROOT, *_STEP, *_SEQUENCES, _UNKNOWN])))
    for where, table in ((asked, _ROOT), (step, _STEP)):
        for keyword, (_, wanted) in table.items():
            if keyword in constrained:
                _set(where, keyword, draw(st.sampled_from(wanted)))
            elif keyword in returned:
                setattr(where, keyword, "")
    if draw(st.integers(0, 5)) == 0:  # the interval from one day and time to another
        setattr(step, _DATE, "20260101-20260102")
        step.ScheduledProcedureStepStartTime = draw(st.sampled_from(("170000-090000", "083000-170000")))
    if step.get("ScheduledProcedureStepStartTime") == "1700-0900" and step.get(_DATE) != "20260101-20260102":
        step.ScheduledProcedureStepStartTime = "0900-1700"  # backwards, but for a range of days
    for keyword, of_step in _SEQUENCES.items():
        if keyword in constrained | returned:
            one = [code(draw(st.sampled_from(_CODES)))] if keyword in constrained else []
            setattr(step if of_step else asked, keyword, one or draw(st.sampled_from(([], [Dataset()]))))
    if _UNKNOWN in returned:
        asked.SeriesInstanceUID = ""
    setattr(asked, STEPS, [step])
    return asked
