"""Person names as keys: by component groups, whatever the case, and fuzzy (PS3.4 C.2.2.2.1.1, K.2.2.2)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Final

from cxr_pacs.worklist.conditions import AnyOf, Like, like

__all__ = ["FuzzyName", "Name", "fuzzy_name", "name", "name_groups"]

_ALPHABETIC_IDEOGRAPHIC_PHONETIC: Final = 3
_DELIMITERS: Final = 4  # of the five components
_SOUNDS: Final = {
    letter: digit
    for letters, digit in (("bfpv", "1"), ("cgjkqsxz", "2"), ("dt", "3"), ("l", "4"), ("mn", "5"), ("r", "6"))
    for letter in letters
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A name by its component groups: alphabetic, ideographic, phonetic (PS3.5 6.2.1.1).

    A group of the key is matched with the same group of the value. A key of one group may be any of the
    three: who types ideographs into a modality knows no equals sign. As trailing delimiters may be left out
    of a value (PS3.5 6.2), a wildcard is held against all of them, too: ``Doe^*`` finds ``Doe``.
    """

    groups: tuple[AnyOf | Like | None, ...]

    def accepts(self, value: str) -> bool:
        """Say whether a name is wanted."""
        have = name_groups(value)
        if len(self.groups) == 1 and (only := self.groups[0]):
            return any(_accepts(only, group) for group in have if group)
        padded = have + ("",) * (len(self.groups) - len(have))
        return all(
            wanted is None or (bool(group) and _accepts(wanted, group))
            for wanted, group in zip(self.groups, padded, strict=False)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzyName:
    """Fuzzy semantic matching: each word of the key is, or sounds like, a word of the name.

    Neither order, accents nor component delimiters count; a wildcard holds within its word.
    """

    words: tuple[AnyOf | Like, ...]

    def accepts(self, value: str) -> bool:
        """Say whether a name is near enough."""
        have = [form for word in _words(value) for form in (word, _sound(word)) if form]
        return all(any(word.accepts(form) for form in have) for word in self.words)


def name_groups(text: str) -> tuple[str, ...]:
    """Component groups of a name in the form in which they are compared: folded, without idle blanks."""
    return tuple(map(_folded, text.split("=")[:_ALPHABETIC_IDEOGRAPHIC_PHONETIC]))


def name(wanted: str) -> Name | None:
    """Read a key that is a name; None is universal matching."""
    groups = tuple(_group(group) if group.strip("*") else None for group in name_groups(wanted))
    return Name(groups=groups) if any(groups) else None


def fuzzy_name(wanted: str) -> FuzzyName | None:
    """Read a key that is a name for fuzzy matching; None is universal matching."""
    words = tuple(
        like(word) if "*" in word or "?" in word else AnyOf(wanted=frozenset({word, _sound(word)} - {""}))
        for word in _words(wanted)
        if word.strip("*")
    )
    return FuzzyName(words=words) if words else None


def _group(group: str) -> AnyOf | Like:
    if "*" in group or "?" in group:
        found = like(group)
        return replace(found, prefix=found.prefix.rstrip("^"))
    return AnyOf(wanted=frozenset({group}))


def _accepts(wanted: AnyOf | Like, group: str) -> bool:
    return wanted.accepts(group) or wanted.accepts(group + "^" * (_DELIMITERS - group.count("^")))


def _folded(group: str) -> str:
    composed = unicodedata.normalize("NFC", group).casefold()
    components = (component.strip(" \0") for component in unicodedata.normalize("NFC", composed).split("^"))
    return "^".join(components).rstrip("^")


def _words(text: str) -> list[str]:
    letters = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return [word for word in re.split(r"[\s\0^=,.'-]+", plain) if word]


def _sound(word: str) -> str:
    """American Soundex of a word of Latin letters, marked so that it is no word; else empty."""
    if not (word.isascii() and word.isalpha()):
        return ""
    code, before = "", _SOUNDS.get(word[0], "")
    for letter in word[1:]:
        digit = _SOUNDS.get(letter, "")
        if digit != before:
            code += digit
        if letter not in "hw":
            before = digit
    return f"#{word[0]}{code[:3]:0<3}"
