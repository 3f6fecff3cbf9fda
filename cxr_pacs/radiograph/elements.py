"""Reading single elements of a dataset so that a missing or malformed one is merely absent."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["codes", "first_item", "first_number", "integer", "items", "numbers", "text", "values"]

_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "IS", "LO", "SH", "UI"})
# What pydicom raises for an element whose bytes do not fit its value representation.
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Read the values of an element.

    Text that pydicom has not converted yet is decoded here, as UTF-8 or else Latin-1: its conversion warns of
    a wrong value by quoting it, and a quoted value may be an identity.
    """
    try:
        raw: object = dataset.get_item(keyword)
        if isinstance(raw, RawDataElement) and (raw.VR or dictionary_VR(raw.tag)) in _TEXT:
            return [part.strip(" \0") for part in _decoded(raw.value or b"").split("\\")]
        value = dataset.get(keyword)
    except _MALFORMED:
        return []
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | MultiValue) else [value]


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def text(dataset: Dataset, keyword: str) -> str:
    """Read the values of an element as one string, "" when there is none."""
    return " ".join(str(v).strip(" \0") for v in values(dataset, keyword) if v is not None).strip()


def codes(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Read code strings in upper case, empty ones kept in their place."""
    return tuple(str(v).strip(" \0").upper() for v in values(dataset, keyword) if v is not None)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Read the finite numbers of an element; one that is no number empties the list."""
    try:
        found = [float(v) for v in values(dataset, keyword)]
    except _MALFORMED:
        return []
    return found if all(map(math.isfinite, found)) else []


def first_number(dataset: Dataset, keyword: str) -> float | None:
    """Read the first number of an element, None when there is none."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Read the first number of an element as an integer, None when there is none."""
    found = first_number(dataset, keyword)
    return None if found is None else int(found)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Read the items of a sequence."""
    try:
        sequence = dataset.get(keyword)
    except _MALFORMED:
        return []
    return list(sequence) if isinstance(sequence, Sequence) else []


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Read the first item of a sequence, None when it is missing or empty."""
    return next(iter(items(dataset, keyword)), None)
