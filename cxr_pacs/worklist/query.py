"""A worklist query: an identifier read, checked and refused where it is none (PS3.4 K.4.1.1.3)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, cast

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue

from cxr_pacs.errors import RefusedQuery
from cxr_pacs.worklist.character_sets import CharacterSets, UnknownCharacterSet
from cxr_pacs.worklist.conditions import Between, between, wanted_texts
from cxr_pacs.worklist.elements import Elements, encode_implicit, read_elements, vr_of
from cxr_pacs.worklist.keys import SCHEDULED_STEP, SUPPORTED
from cxr_pacs.worklist.matching import (
    START_DATE,
    START_TIME,
    STEPS,
    Bytes,
    Condition,
    Key,
    WholeStart,
    all_accept,
    cut_to,
)
from cxr_pacs.worklist.names import fuzzy_name, name

__all__ = ["CANNOT_PROCESS", "DOES_NOT_MATCH_SOP_CLASS", "Query"]

# PS3.4 K.4.1.1.4
DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
CANNOT_PROCESS: Final = 0xC000

_CHARACTER_SET: Final = 0x00080005
_TIMEZONE: Final = 0x00080201
_BINARY: Final = frozenset(["AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"])
_NO_MATCHING: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What an identifier asks; made by `of`.

    Attributes
    ----------
    keys : tuple of Key
        The supported ones.
    all_supported : bool
        Whether there were no others: else each answer is FF01.
    character_sets : CharacterSets
        Of the identifier.
    """

    keys: tuple[Key, ...]
    all_supported: bool
    character_sets: CharacterSets

    @classmethod
    def of(cls, identifier: Dataset, *, fuzzy: bool = False) -> Query:
        """
        Read an identifier.

        Parameters
        ----------
        identifier : Dataset
        fuzzy : bool
            Whether person names are matched fuzzily.

        Raises
        ------
        RefusedQuery
            With status, offending element and a sentence free of values.
        """
        try:
            sets = CharacterSets.of(_terms(identifier))
        except UnknownCharacterSet as error:
            raise _refused(_CHARACTER_SET, str(error), status=CANNOT_PROCESS) from None
        reader = _Reader(sets=sets, fuzzy=fuzzy)
        if STEPS not in identifier:
            raise _refused(STEPS, "is missing: a worklist is asked for by one item of it")
        keys = reader.keys(identifier, SUPPORTED)
        for key in keys:
            _check_order(key)
        return cls(keys=keys, all_supported=not reader.unsupported, character_sets=sets)

    def matches(self, item: Elements) -> bool:
        """Say whether an item is an answer."""
        return all_accept(self.keys, item)

    def cut(self, item: Elements) -> dict[int, bytes | tuple[Elements, ...]]:
        """Give what is asked back of an item; a value that it has not is empty."""
        return cut_to(self.keys, item)


class _Reader:
    """Reads the keys of one identifier; `unsupported` becomes true where one is not supported."""

    def __init__(self, *, sets: CharacterSets, fuzzy: bool) -> None:
        self._sets = sets
        self._name = fuzzy_name if fuzzy else name
        self.unsupported = False

    def keys(self, asked: Dataset, supported: frozenset[int] | None) -> tuple[Key, ...]:
        """Read the keys of the identifier or of an item in it; None supports all of the standard."""
        found = []
        for tag in sorted(asked.keys()):
            if tag.element == 0 or tag in {_CHARACTER_SET, _TIMEZONE}:
                continue
            vr = vr_of(int(tag))
            known = vr not in _NO_MATCHING if supported is None else int(tag) in supported
            if known:
                found.append(self._key(asked, int(tag), vr))
            else:
                self.unsupported = True
        return tuple(found)

    def _key(self, asked: Dataset, tag: int, vr: str) -> Key:
        if vr == "SQ":
            return self._sequence(asked, tag)
        if vr in _NO_MATCHING:
            return Key(tag=tag, vr=vr)
        try:
            if vr in _BINARY:
                encoded = _encoded(asked, tag)
                return Key(tag=tag, vr=vr, condition=Bytes(wanted=encoded) if encoded else None)
            return Key(tag=tag, vr=vr, condition=self._condition(vr, self._text(asked, tag, vr)))
        except UnicodeError:
            raise _refused(tag, "cannot be decoded in its character set", status=CANNOT_PROCESS) from None
        except ValueError as error:
            raise _refused(tag, str(error)) from None

    def _text(self, asked: Dataset, tag: int, vr: str) -> str:
        element: Any = asked.get_item(tag)
        if isinstance(element, RawDataElement):
            return self._sets.decode(element.value or b"", vr)
        return _joined(element)

    def _condition(self, vr: str, wanted: str) -> Condition | None:
        if vr == "PN":
            return self._name(wanted)
        return between(vr, wanted) if vr in {"DA", "DT", "TM"} else wanted_texts(vr, wanted)

    def _sequence(self, asked: Dataset, tag: int) -> Key:
        try:
            items = list(asked[tag].value or ())
        except (ValueError, TypeError, AttributeError, NotImplementedError, OSError):
            raise _refused(tag, "cannot be read") from None
        if len(items) > 1:
            raise _refused(tag, f"has {len(items)} items: a key has one")
        if not items or not len(items[0]):
            return Key(tag=tag, vr="SQ")
        keys = self.keys(items[0], SCHEDULED_STEP if tag == STEPS else None)
        keys, whole_start = _with_whole_start(keys)
        for key in keys:
            _check_order(key)
        return Key(tag=tag, vr="SQ", keys=keys, whole_start=whole_start)


def _with_whole_start(keys: tuple[Key, ...]) -> tuple[tuple[Key, ...], WholeStart | None]:
    """Make one interval of date and time, where both are ranges."""
    of_tag = {key.tag: key.condition for key in keys}
    date, time = of_tag.get(START_DATE), of_tag.get(START_TIME)
    if not (isinstance(date, Between) and isinstance(time, Between) and date.is_range and time.is_range):
        return keys, None
    interval = Between(
        first=None if date.first is None else f"{date.first}{time.first or '0' * 12}",
        last=None if date.last is None else f"{date.last}{time.last or '9' * 12}",
        is_range=True,
    )
    if interval.is_backwards:
        raise _refused(START_TIME, "ends, with its date, before it begins")
    freed = tuple(
        dataclasses.replace(key, condition=None) if key.tag in {START_DATE, START_TIME} else key
        for key in keys
    )
    return freed, WholeStart(interval=interval)


def _check_order(key: Key) -> None:
    if isinstance(key.condition, Between) and key.condition.is_backwards:
        raise _refused(key.tag, "is a range that ends before it begins")


def _joined(element: Any) -> str:
    value = element.value
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, (MultiValue, list, tuple)) else str(value)


def _encoded(asked: Dataset, tag: int) -> bytes:
    element: Any = asked.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    only = Dataset()
    only.add(element)
    return cast(bytes, read_elements(encode_implicit(only))[tag])


def _terms(identifier: Dataset) -> list[str]:
    element: Any = identifier.get_item(_CHARACTER_SET)
    if element is None:
        return []
    text = (
        (element.value or b"").decode("ascii", "replace")
        if isinstance(element, RawDataElement)
        else _joined(element)
    )
    return [term.strip(" \0") for term in text.split("\\")]


def _refused(tag: int, what: str, *, status: int = DOES_NOT_MATCH_SOP_CLASS) -> RefusedQuery:
    named = keyword_for_tag(tag) or "element"
    return RefusedQuery(f"{named} ({tag >> 16:04X},{tag & 0xFFFF:04X}) {what}", status=status, tag=tag)
