"""Values of any object as plain text, safe to print: damaged ones are absent, none can steer a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from pydicom import Dataset
from pydicom.multival import MultiValue

__all__ = ["items_of", "plain"]

# What turns the direction of the text that follows, also of what is not the value's.
_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def plain(dataset: Dataset, keyword: str) -> str:
    """Value of `keyword` as text, its values joined by a backslash; empty when it is missing or damaged.

    Line feeds stay, other control characters go.
    """
    value = _get(dataset, keyword)
    if value is None or isinstance(value, (bytes, Dataset)):
        return ""
    texts = value if isinstance(value, (list, tuple, MultiValue)) else [value]
    text = "\\".join(str(one) for one in texts).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    kept = (c for c in _TURNS.sub("", text) if c == "\n" or unicodedata.category(c) != "Cc")
    return "".join(kept).strip()


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of the sequence `keyword`; none when it is missing or damaged."""
    value = _get(dataset, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def _get(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001  pydicom raises many kinds for an element that is damaged
        return None
