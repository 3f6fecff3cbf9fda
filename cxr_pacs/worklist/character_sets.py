"""Specific Character Set (0008,0005) of a query, and of an answer to it (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from pydicom.charset import decode_bytes, default_encoding, encode_string, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS, PersonName

from cxr_pacs.worklist.elements import TEXT_OF_ANY_LANGUAGE, Elements, vr_of

__all__ = ["CharacterSets", "UnknownCharacterSet", "in_a_set_of"]

_TAG: Final = 0x00080005
_ESCAPE: Final = b"\x1b"
_UNDECODED: Final = frozenset("\x1b\N{REPLACEMENT CHARACTER}")
_ONE_VALUE: Final = frozenset({"LT", "ST", "UT"})
_NOT_MULTIPLE: Final = frozenset({"ISO_IR 192", "GB18030", "GBK"})


class UnknownCharacterSet(ValueError):
    """A defined term that no standard has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterSets:
    """The values of Specific Character Set; none, or an empty one, is the default repertoire."""

    terms: tuple[str, ...]

    @classmethod
    def of(cls, terms: Iterable[str]) -> Self:
        """Check the terms; UnknownCharacterSet where one is not known."""
        taken = tuple(terms)
        if not all(term in python_encoding for term in taken):
            raise UnknownCharacterSet("is not a character set of the standard")
        if taken and taken[0] in _NOT_MULTIPLE:
            taken = taken[:1]
        return cls(terms=taken if any(taken) else ())

    @property
    def _encodings(self) -> list[str]:
        return [python_encoding[term] for term in self.terms or ("",)]

    def decode(self, value: bytes, vr: str) -> str:
        """Decode a whole value, before anything is split: in GB18030 a backslash may be half a character.

        Raises
        ------
        UnicodeError
            The bytes are none of these sets.
        """
        if vr not in TEXT_OF_ANY_LANGUAGE:
            return value.decode("iso8859-1")
        return _decoded(value, self._encodings, vr)

    @property
    def _encodings_of_answers(self) -> list[str]:
        # The library reads and writes the default repertoire as Latin-1; it has 7 bits (PS3.5 6.1.1).
        return ["ascii" if encoding == default_encoding else encoding for encoding in self._encodings]

    def encode(self, text: str, vr: str) -> bytes | None:
        """Encode a whole value; None where these sets do not hold it."""
        if text.isascii():
            return text.encode()
        if not self.terms:
            return None
        encodings = self._encodings
        strict = self._encodings_of_answers
        if not all(any(_holds(one, character) for one in strict) for character in text):
            return None
        values = [text] if vr in _ONE_VALUE else text.split("\\")
        if vr == "PN":
            encoded = b"\\".join(PersonName(value).encode(encodings) for value in values)
        else:
            encoded = b"\\".join(encode_string(value, encodings) for value in values)
        try:
            again = unicodedata.normalize("NFC", _decoded(encoded, strict, vr))
        except UnicodeError:
            return None
        return encoded if again == text else None


_LATIN_1: Final = CharacterSets(terms=("ISO_IR 100",))
_UNICODE: Final = CharacterSets(terms=("ISO_IR 192",))


def in_a_set_of(asked: CharacterSets, answer: Elements) -> dict[int, bytes | tuple[Elements, ...]]:
    """Bring an answer from UTF-8 to a character set, and name it in the answer.

    The set of the query, which the modality must know; else Latin-1, the one that the oldest devices know
    beside the default repertoire, for one that asked in that; else Unicode, which holds everything.
    """
    if _is_ascii(answer):
        named = dict(answer)
        terms = asked.terms
    else:
        named, terms = next(
            (found, sets.terms)
            for sets in (asked, _LATIN_1, _UNICODE)
            if (found := _encoded(answer, sets)) is not None
        )
    if terms or _TAG in named:
        named[_TAG] = _padded("\\".join(terms).encode())
    return named


def _is_ascii(elements: Elements) -> bool:
    return all(
        all(map(_is_ascii, value)) if isinstance(value, tuple) else value.isascii() or not _is_text(tag)
        for tag, value in elements.items()
    )


def _encoded(elements: Elements, sets: CharacterSets) -> dict[int, bytes | tuple[Elements, ...]] | None:
    found: dict[int, bytes | tuple[Elements, ...]] = {}
    for tag, value in elements.items():
        if isinstance(value, tuple):
            items = [_encoded(item, sets) for item in value]
            if None in items:
                return None
            found[tag] = tuple(item for item in items if item is not None)
        elif value.isascii() or not _is_text(tag):
            found[tag] = value
        else:
            encoded = sets.encode(value.decode("utf-8", "replace").rstrip(" "), vr_of(tag))
            if encoded is None:
                return None
            found[tag] = _padded(encoded)
    return found


def _is_text(tag: int) -> bool:
    return vr_of(tag) in TEXT_OF_ANY_LANGUAGE


def _padded(encoded: bytes) -> bytes:
    return encoded + b" " * (len(encoded) % 2)


def _decoded(value: bytes, encodings: list[str], vr: str) -> str:
    if _ESCAPE not in value:
        return value.decode(encodings[0])
    delimiters = (PN_DELIMS | set(b"=")) if vr == "PN" else TEXT_VR_DELIMS
    text = decode_bytes(value, encodings, delimiters | set(b"\\"))
    # What it cannot decode the library leaves, or replaces.
    if not _UNDECODED.isdisjoint(text):
        raise UnicodeError("an escape sequence of another character set, or bytes that are not of it")
    return text


def _holds(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeError:
        return False
    return True
