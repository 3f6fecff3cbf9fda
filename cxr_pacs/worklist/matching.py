"""Keys of a query against the elements of an item: is it an answer, and what of it (PS3.4 C.2.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from cxr_pacs.worklist.conditions import AnyOf, Between, Like, texts
from cxr_pacs.worklist.elements import Elements
from cxr_pacs.worklist.names import FuzzyName, Name

__all__ = [
    "START_DATE",
    "START_TIME",
    "STEPS",
    "Bytes",
    "Condition",
    "Key",
    "WholeStart",
    "all_accept",
    "cut_to",
]

STEPS: Final = 0x00400100
START_DATE: Final = 0x00400002
START_TIME: Final = 0x00400003


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Single value matching of a number in binary form."""

    wanted: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStart:
    """Start date and start time as ranges of both: one interval from the first to the last (Table K.6-1)."""

    interval: Between

    def accepts(self, step: Elements) -> bool:
        """Say whether the step begins within it."""
        parts = (("DA", step.get(START_DATE, b"")), ("TM", step.get(START_TIME, b"")))
        date, time = (next(texts(vr, value)) if isinstance(value, bytes) else "" for vr, value in parts)
        return bool(date) and self.interval.accepts(f"{date}{time or '0' * 12}")


Condition: TypeAlias = AnyOf | Like | Between | Name | FuzzyName | Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of an identifier.

    Attributes
    ----------
    tag, vr : int, str
    condition : optional
        What it asks of a value; None is universal matching.
    keys : tuple of Key, optional
        Of the item of a sequence; None where the whole sequence is asked back.
    whole_start : WholeStart, optional
        What it asks of date and time of a scheduled procedure step together.
    """

    tag: int
    vr: str
    condition: Condition | None = None
    keys: tuple[Key, ...] | None = None
    whole_start: WholeStart | None = None

    @property
    def is_universal(self) -> bool:
        """Whether every value matches, and none at all."""
        return (
            self.condition is None
            and self.whole_start is None
            and all(k.is_universal for k in self.keys or ())
        )

    def accepts(self, value: bytes | tuple[Elements, ...]) -> bool:
        """Say whether a value is wanted; of a sequence one item, of many values one (PS3.4 C.2.2.2.6)."""
        if isinstance(value, tuple):
            return any(self.accepts_item(item) for item in value)
        if self.condition is None:
            return True
        if isinstance(self.condition, Bytes):
            return value == self.condition.wanted
        return any(map(self.condition.accepts, texts(self.vr, value)))

    def accepts_item(self, item: Elements) -> bool:
        """Say whether an item of the sequence has what every key in it asks."""
        if self.whole_start is not None and not self.whole_start.accepts(item):
            return False
        return all_accept(self.keys or (), item)


def all_accept(keys: tuple[Key, ...], elements: Elements) -> bool:
    """Say whether a data set has what every key asks."""
    return all(
        key.is_universal or ((value := elements.get(key.tag)) is not None and key.accepts(value))
        for key in keys
    )


def cut_to(keys: tuple[Key, ...], elements: Elements) -> dict[int, bytes | tuple[Elements, ...]]:
    """Give what is asked back of a data set, of a sequence its items that match; what it has not is empty."""
    found: dict[int, bytes | tuple[Elements, ...]] = {}
    for key in keys:
        value = elements.get(key.tag, b"")
        if key.keys is not None and isinstance(value, tuple):
            value = tuple(cut_to(key.keys, item) for item in value if key.accepts_item(item))
        found[key.tag] = value
    return found
