"""Character sets of messages: MSH-18 and HL7 table 0211."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

__all__ = ["CODECS", "codec"]

# Of Japanese, all the sets that may be switched between by escape sequences.
_JAPANESE: Final = "iso2022_jp_ext"

CODECS: Final = MappingProxyType(
    {
        "ASCII": "ascii",
        **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
        "ISO IR6": "ascii",
        "ISO IR13": _JAPANESE,
        "ISO IR14": _JAPANESE,
        "ISO IR87": _JAPANESE,
        "ISO IR159": _JAPANESE,
        "GB 18030-2000": "gb18030",
        "KS X 1001": "euc_kr",
        "BIG-5": "big5",
        "UNICODE": "utf-8",
        "UNICODE UTF-8": "utf-8",
    }
)
"""Python's codec of each set; UTF-16 and UTF-32 are none for MLLP, whose end mark may lie in a character."""


def codec(names: Sequence[str]) -> str | None:
    """
    Give the codec of a message.

    Parameters
    ----------
    names : sequence of str
        Repetitions of MSH-18, of which the first may be empty (ASCII).

    Returns
    -------
    str or None
        None where one of them is unknown, or they cannot be had together.
    """
    found = [CODECS.get(name or "ASCII") for name in names]
    if not found or None in found:
        return None
    others = set(found) - {"ascii"}
    return "ascii" if not others else others.pop() if len(others) == 1 else None
