r"""A message and its segments (HL7 v2, chapter 2).

The package ``hl7`` splits a message into its parts. Beside it there is ``hl7apy``, which knows every
structure of every version and checks a message against it: it takes 8 ms for an order, ``hl7`` 0.3; it is
16 MB, ``hl7`` 0.25; and it refuses what real senders send, as a segment of the site's own. Neither has types,
and both have been quiet for years, as has the format. What ``hl7`` offers beyond is not used: its server
needs an event loop of its own, and its ``unescape`` logs the field that it cannot read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Self

from cxr_pacs.errors import ConfigurationError, RefusedMessage
from cxr_pacs.hl7v2.character_sets import codec

__all__ = ["Header", "Location", "Message", "Segment", "require_package", "with_segment_ends"]

_START: Final = re.compile(r"MSH([^\w\s])((?!\1)[^\w\s]{4,5})\1")
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_LOCATION: Final = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?")
# HL7 2.5.1, 2.5.3.7: delete the value that was there before.
_DELETED: Final = '""'


def require_package() -> ModuleType:
    """Import ``hl7``; ConfigurationError where it is not installed."""
    try:
        return importlib.import_module("hl7")
    except ImportError as error:
        raise ConfigurationError(
            "hl7.port: orders by HL7 need the package hl7: pip install 'cxr-pacs[hl7]', or set the port to 0"
        ) from error


def with_segment_ends(content: bytes) -> bytes:
    """End segments as HL7 does, by a carriage return: some senders end them as lines of a file."""
    return re.sub(rb"[\r\n]+", b"\r", content).strip(b"\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A field, component or subcomponent, numbered from 1 as in ``OBR-4.5``; 0 where the whole is meant."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``SEGMENT-FIELD[.COMPONENT[.SUBCOMPONENT]]``; ValueError where it is not that."""
        if not (found := _LOCATION.fullmatch(text)):
            raise ValueError("a field is named SEGMENT-FIELD[.COMPONENT[.SUBCOMPONENT]], such as OBR-4.5")
        segment, *numbers = found.groups(default="0")
        return cls(
            segment=segment,
            field=int(numbers[0]),
            component=int(numbers[1]),
            subcomponent=int(numbers[2]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What of MSH an answer needs, byte for byte, even if the rest of the message cannot be read.

    Attributes
    ----------
    delimiters : str
        Field separator and encoding characters.
    fields : tuple of str
        By number, from 0 (``MSH``) on; bytes as Latin-1.
    """

    delimiters: str = "|^~\\&"
    fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read the first segment; an empty header where it is not MSH."""
        line = content.partition(b"\r")[0].decode("latin-1")
        start = _START.match(line)
        if start is None or len(set(start[1] + start[2])) <= len(start[2]):
            return cls()
        separator, encoding = start.groups()
        rest = line[4:].split(separator)
        return cls(delimiters=separator + encoding, fields=("MSH", separator, *rest))

    def __getitem__(self, number: int) -> str:
        return self.fields[number].strip() if number < len(self.fields) else ""

    def component(self, number: int, component: int) -> str:
        """Component `component` of field `number`."""
        parts = self[number].split(self.delimiters[1])
        return parts[component - 1].strip() if component <= len(parts) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment of a message.

    Attributes
    ----------
    name : str
    occurrence : int
        From 1 on, among those of its name.
    fields : tuple
        By number, each a tuple of repetitions, of components, of subcomponents: text as it is meant.
    """

    name: str
    occurrence: int
    fields: tuple[tuple[tuple[tuple[str, ...], ...], ...], ...]

    def repetitions(self, number: int) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """Repetitions of a field; none where there is no such field."""
        return self.fields[number] if 0 < number < len(self.fields) else ()

    def text(self, location: Location) -> str:
        """Value there, of the first repetition; a part that is not named is its first one."""
        repetitions = self.repetitions(location.field)
        components = repetitions[0] if repetitions else ()
        subcomponents = _part(components, location.component) or ()
        found = (_part(subcomponents, location.subcomponent) or "").strip()
        return "" if found == _DELETED else found

    def place(self, location: Location) -> str:
        """Name the field for an answer (data type ERL): segment, its occurrence, field."""
        return f"{self.name}^{self.occurrence}^{location.field}"


def _part(parts: Sequence[Any], number: int) -> Any:
    index = max(number, 1) - 1
    return parts[index] if index < len(parts) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message; made by `parse`."""

    header: Header
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, content: bytes, default_character_set: str) -> Self:
        """
        Take a message apart.

        Parameters
        ----------
        content : bytes
            Without the marks of MLLP.
        default_character_set : str
            Of HL7 table 0211; of a message that names none.

        Raises
        ------
        RefusedMessage
            It does not begin with MSH, or is not in its character set.
        """
        content = with_segment_ends(content)
        header = Header.of(content)
        if not header.fields:
            raise RefusedMessage(
                "It does not begin with a segment MSH and its delimiters",
                answer="AR",
                code=100,
                place="MSH^1^1",
            )
        encoding = codec(header[18].split(header.delimiters[2]) if header[18] else [default_character_set])
        if encoding is None:
            raise RefusedMessage(
                "MSH-18: an unsupported character set", answer="AR", code=103, place="MSH^1^18"
            )
        try:
            text = content.decode(encoding)
        except ValueError:
            raise RefusedMessage(
                "MSH-18: the message is not in its character set", answer="AR", code=102, place="MSH^1^18"
            ) from None
        escapes = _Escapes(delimiters=header.delimiters, encoding=encoding)
        segments: list[Segment] = []
        counts: dict[str, int] = {}
        for parsed in require_package().parse(text):
            name = str(parsed[0])
            if not _NAME.fullmatch(name):
                raise RefusedMessage("A segment does not begin with its name", answer="AE", code=100)
            counts[name] = counts.get(name, 0) + 1
            fields = tuple(_field(one, escapes) for one in parsed)
            segments.append(Segment(name=name, occurrence=counts[name], fields=fields))
        return cls(header=header, segments=tuple(segments))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Escapes:
    """Escape sequences of a message (HL7 2.5.1, 2.7); formatting becomes a blank, what is unknown nothing."""

    delimiters: str
    encoding: str

    def text(self, raw: str) -> str:
        escape = self.delimiters[3]
        if escape not in raw:
            return raw
        between = re.escape(escape)
        return re.sub(f"{between}([^{between}]*){between}", self._meant, raw)

    def _meant(self, found: re.Match[str]) -> str:
        sequence = found[1]
        known = dict(zip("FSRET", self.delimiters, strict=False)) | {".br": " ", ".sp": " "}
        if sequence in known:
            return known[sequence]
        if sequence.startswith("X"):
            try:
                return bytes.fromhex(sequence[1:]).decode(self.encoding)
            except ValueError:
                return ""
        return ""


def _field(parsed: Any, escapes: _Escapes) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Give a field of the package, whose leaves may lie at any depth, as a tree of one depth."""
    if isinstance(parsed, str):
        return (((escapes.text(parsed),),),)
    return tuple(
        ((escapes.text(one),),)
        if isinstance(one, str)
        else tuple(
            (escapes.text(part),) if isinstance(part, str) else tuple(escapes.text(str(sub)) for sub in part)
            for part in one
        )
        for one in parsed
    )
