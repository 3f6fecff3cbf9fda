"""What a key may ask of one value: single value, list, wildcard, range (PS3.4 C.2.2.2)."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

__all__ = ["AnyOf", "Between", "Like", "between", "like", "plain", "texts", "wanted_texts"]

# PS3.4 C.2.2.2.4
_WILD_VRS: Final = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
_LEADING_BLANKS_COUNT: Final = frozenset({"LT", "ST", "UC", "UR", "UT"})
_UID: Final = re.compile(r"[0-9.]{1,64}")
_SHAPES: Final = {
    "DA": re.compile(r"\d{8}"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"),
    "DT": re.compile(r"\d{4}(\d\d){0,5}(?:(?<=\d{14})\.\d{1,6})?"),
}
_DIGITS: Final = {"DA": 8, "TM": 12, "DT": 20}
_OFFSET_FROM_UTC: Final = re.compile(r"[+-]\d{4}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """Single value matching, or a list of which any will do (PS3.4 C.2.2.2.1, C.2.2.2.2)."""

    wanted: frozenset[str]

    def accepts(self, value: str) -> bool:
        """Say whether a value, as `texts` gives it, is wanted."""
        return value in self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """Wildcard matching; `prefix` is the text before the first wildcard (PS3.4 C.2.2.2.4)."""

    pattern: re.Pattern[str]
    prefix: str

    def accepts(self, value: str) -> bool:
        """Say whether a value, as `texts` gives it, is wanted."""
        return self.pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Range matching, both ends included; None is an open end (PS3.4 C.2.2.2.5).

    The ends are digits that sort. What has fewer digits than its representation allows means all that begins
    with them: a single value is an interval, too, and the end ``1030`` is 10:30:59.999999.
    """

    first: str | None
    last: str | None
    is_range: bool

    def accepts(self, value: str) -> bool:
        """Say whether a value, as `texts` gives it, is wanted."""
        after = self.first is None or value >= self.first
        return bool(value) and after and (self.last is None or value <= self.last)

    @property
    def is_backwards(self) -> bool:
        """Whether the end is before the beginning."""
        return self.first is not None and self.last is not None and self.last < self.first


def texts(vr: str, stored: bytes) -> Iterator[str]:
    """Values of an element as conditions compare them; what is not of its representation is empty."""
    for one in _split(vr, stored.decode("utf-8", "replace")):
        text = plain(vr, one)
        if shape := _SHAPES.get(vr):
            text = _OFFSET_FROM_UTC.sub("", text)
            yield _filled(vr, text, "0") if shape.fullmatch(text) else ""
        else:
            yield text


def wanted_texts(vr: str, wanted: str) -> AnyOf | Like | None:
    """Read a key of text; None is universal matching.

    Raises
    ------
    ValueError
        It says, without the value, what PS3.4 C.2.2.2 does not allow for `vr`.
    """
    given = [text for one in _split(vr, wanted) if (text := plain(vr, one))]
    wild = [text for text in given if "*" in text or "?" in text]
    if wild and vr not in _WILD_VRS:
        raise ValueError(f"has a wildcard, which its value representation {vr} does not allow")
    if not given or any(not text.strip("*") for text in wild):
        return None
    if wild and len(given) > 1:
        raise ValueError("has several values, and a wildcard in one")
    if vr == "UI" and not all(map(_UID.fullmatch, given)):
        raise ValueError("is not a UID or a list of them")
    return like(given[0]) if wild else AnyOf(wanted=frozenset(given))


def between(vr: str, wanted: str) -> Between | None:
    """Read a key of date, time or both; None is universal matching.

    Raises
    ------
    ValueError
        It is neither a value nor a range.
    """
    text = wanted.strip(" \0")
    if not text:
        return None
    first, hyphen, last = (part.strip() for part in text.partition("-"))
    if not hyphen:
        last = first
    if not (first or last) or not all(_is_of(vr, end) for end in (first, last) if end):
        raise ValueError(f"is neither a value nor a range of its value representation {vr}")
    return Between(
        first=_filled(vr, first, "0") if first else None,
        last=_filled(vr, last, "9") if last else None,
        is_range=bool(hyphen),
    )


def like(pattern: str) -> Like:
    """Read a pattern: ``*`` is any run of characters, ``?`` any one."""
    runs = [re.escape(run).replace(r"\?", ".") for run in re.split(r"\*+", pattern)]
    first, *middle = runs
    last = f".*{middle.pop()}" if middle else ""
    # Atomic groups: each run is looked for once, at its first place. Many asterisks cost no more than one.
    inner = "".join(f"(?>.*?{run})" for run in middle)
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    return Like(pattern=re.compile(f"{first}{inner}{last}", re.DOTALL), prefix=prefix)


def plain(vr: str, one: str) -> str:
    """Give a value without what does not count: idle blanks, signs and zeros of numbers, composition."""
    stripped = one.rstrip(" \0") if vr in _LEADING_BLANKS_COUNT else one.strip(" \0")
    if vr in {"IS", "DS"}:
        try:
            return str(Decimal(stripped).normalize() + 0)
        except InvalidOperation:
            return stripped
    return unicodedata.normalize("NFC", stripped)


def _split(vr: str, text: str) -> list[str]:
    return [text] if vr in _ONE_VALUE else text.split("\\")


def _is_of(vr: str, text: str) -> bool:
    if not _SHAPES[vr].fullmatch(text):
        return False
    if vr == "TM":
        return True
    try:
        dt.date(int(text[:4]), int(text[4:6] or 1), int(text[6:8] or 1))
    except ValueError:
        return False
    return True


def _filled(vr: str, text: str, filler: str) -> str:
    return text.replace(".", "").ljust(_DIGITS[vr], filler)
