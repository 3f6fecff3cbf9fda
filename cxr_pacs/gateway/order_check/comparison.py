"""Image against order, attribute by attribute. What is empty on either side says nothing.

Names agree where each component that both sides have is the same, in each component group that both sides
have, whatever the case, the width of letters and the accents: equipment that cannot write an accent leaves it
out, and that is not another patient. A letter written in another way (Mueller for Müller) is a difference.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydicom import Dataset

from cxr_pacs.evidence.attributes import is_decodable, items, single, terms_of

__all__ = ["COMPARED", "Comparison", "Outcome", "compare", "differences", "image_keys", "values"]

_OF_PATIENT: Final = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
_ONE_VALUE: Final = (*_OF_PATIENT, "StudyInstanceUID")
# An image may belong to several requests: to agree, one of them is enough.
_OF_A_REQUEST: Final = ("AccessionNumber", "RequestedProcedureID")
COMPARED: Final = (*_ONE_VALUE, *_OF_A_REQUEST)
_REQUESTS: Final = ("RequestAttributesSequence", "ReferencedRequestSequence")
_ACCENTS: Final = range(0x300, 0x370)  # Combining Diacritical Marks; a kana's voicing is no accent


class Outcome(StrEnum):
    """What came of the comparison."""

    AGREES = "agrees"
    ABSENT = "absent"  # the worklist knows no order of this image
    MISMATCH = "mismatch"
    UNASKED = "unasked"  # the worklist did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An image held against its order.

    Attributes
    ----------
    outcome : Outcome
    differs : tuple of str
        Keywords of the attributes in which they contradict each other; never a value.
    order : Dataset or None
        The order with which the image agrees.
    """

    outcome: Outcome
    differs: tuple[str, ...] = ()
    order: Dataset | None = None


def image_keys(header: Dataset) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Attributes by which the order of an image is found, the best first, with the image's values."""
    for keyword in ("AccessionNumber", "ScheduledProcedureStepID", "StudyInstanceUID"):
        yield keyword, tuple(dict.fromkeys(values(header, keyword)))


def compare(header: Dataset, orders: Sequence[Dataset]) -> Comparison:
    """
    Hold the header of an image against the orders that were found for it.

    Of several orders those with the image's Scheduled Procedure Step ID count, else those with its Study
    Instance UID, else all. To agree with one of them is enough; else the one that differs least is named.
    Where the accession number at the root of the image, under which its report is filed, has orders, one of
    these is of the same patient, too: an image may name the request of another order beside it.

    Parameters
    ----------
    header : Dataset
        Of the image.
    orders : sequence of Dataset
        Worklist items (PS3.4 Table K.6-1).
    """
    compared = [(differences(header, order), order) for order in _nearest(header, orders)]
    if not compared:
        return Comparison(outcome=Outcome.ABSENT)
    differs, order = min(compared, key=lambda one: (len(one[0]), one[0]))
    differs = differs or _of_another_patient(header, orders)
    if differs:
        return Comparison(outcome=Outcome.MISMATCH, differs=differs)
    return Comparison(outcome=Outcome.AGREES, order=order)


def differences(header: Dataset, order: Dataset) -> tuple[str, ...]:
    """Keywords of the attributes of which image and order have different values."""
    return tuple(_differences(header, order))


def _differences(header: Dataset, order: Dataset) -> Iterator[str]:
    for keyword in _ONE_VALUE:
        mine, theirs = _said(header, keyword), _said(order, keyword)
        same = _same_name(mine, theirs) if keyword == "PatientName" else mine == theirs
        if mine and theirs and not same:
            yield keyword
    for keyword in _OF_A_REQUEST:
        known, ordered = list(values(header, keyword)), single(order, keyword)
        if known and ordered and ordered not in known:
            yield keyword


def _of_another_patient(header: Dataset, orders: Sequence[Dataset]) -> tuple[str, ...]:
    """Give what of the patient all orders of the accession number at the root contradict, the least of it."""
    number = single(header, "AccessionNumber")
    filed = [order for order in orders if number and single(order, "AccessionNumber") == number]
    contradicted = (
        tuple(keyword for keyword in differences(header, order) if keyword in _OF_PATIENT) for order in filed
    )
    return min(contradicted, key=lambda one: (len(one), one), default=())


def _nearest(header: Dataset, orders: Sequence[Dataset]) -> Sequence[Dataset]:
    steps, study = set(values(header, "ScheduledProcedureStepID")), single(header, "StudyInstanceUID")
    of_step = [order for order in orders if steps.intersection(values(order, "ScheduledProcedureStepID"))]
    of_study = [order for order in orders if study and single(order, "StudyInstanceUID") == study]
    return of_step or of_study or orders


def values(dataset: Dataset, keyword: str) -> Iterator[str]:
    """Give the values of the root, then of each request of an image, or of each step of a worklist item."""
    terms = terms_of(dataset)
    if root := single(dataset, keyword):
        yield root
    for sequence in (*_REQUESTS, "ScheduledProcedureStepSequence"):
        for item in items(dataset, sequence):
            if value := single(item, keyword, terms):
                yield value


def _said(dataset: Dataset, keyword: str) -> str:
    # What cannot be decoded is not known to differ; no report is made of it, for that reason.
    return single(dataset, keyword) if is_decodable(dataset, keyword) else ""


def _same_name(one: str, other: str) -> bool:
    groups = zip(one.split("="), other.split("="), strict=False)
    components = (
        pair for mine, theirs in groups for pair in zip(mine.split("^"), theirs.split("^"), strict=False)
    )
    return all(a == b for a, b in ((_letters(a), _letters(b)) for a, b in components) if a and b)


def _letters(component: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", component).casefold())
    return " ".join("".join(c for c in plain if ord(c) not in _ACCENTS).split())
