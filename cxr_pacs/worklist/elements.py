"""An encoded data set as a table of its values: a worklist answers many thousand items a second from it.

The store keeps Implicit VR Little Endian with explicit lengths and UTF-8 text (`WorklistItem.to_bytes`).
Values stay bytes until a key asks for them, and so are not decoded and encoded again to be sent.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Final, TypeAlias, Union

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

__all__ = ["TEXT_OF_ANY_LANGUAGE", "Elements", "encode_implicit", "read_elements", "vr_of", "write_elements"]

Elements: TypeAlias = Mapping[int, Union[bytes, "tuple[Elements, ...]"]]
"""Value by tag; a sequence has one `Elements` for each item."""

TEXT_OF_ANY_LANGUAGE: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations that Specific Character Set holds for (PS3.5 6.1.2.2)."""

_HEADER: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2sHL")
_LONG_VRS: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_ITEM: Final = b"\xfe\xff\x00\xe0"
_LENGTH: Final = struct.Struct("<L")


def encode_implicit(dataset: Dataset) -> bytes:
    """Encode in Implicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@functools.cache
def vr_of(tag: int) -> str:
    """Value representation by the dictionary; ``UN`` for what it does not have, and all that is private."""
    if not dictionary_has_tag(tag):
        return "UN"
    return dictionary_VR(tag).partition(" or ")[0]


def read_elements(encoded: bytes) -> dict[int, bytes | tuple[Elements, ...]]:
    """Read what `WorklistItem.to_bytes` gave."""
    found: dict[int, bytes | tuple[Elements, ...]] = {}
    position, end = 0, len(encoded)
    while position < end:
        group, element, length = _HEADER.unpack_from(encoded, position)
        tag = group << 16 | element
        position += _HEADER.size
        value = encoded[position : position + length]
        found[tag] = _items(value) if vr_of(tag) == "SQ" else value
        position += length
    return found


def _items(encoded: bytes) -> tuple[Elements, ...]:
    items = []
    position = 0
    while position < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, position + 4)
        position += _HEADER.size
        items.append(read_elements(encoded[position : position + length]))
        position += length
    return tuple(items)


def write_elements(elements: Elements, *, explicit: bool) -> bytes:
    """Encode in Explicit or Implicit VR Little Endian."""
    parts = []
    for tag in sorted(elements):
        value = elements[tag]
        if isinstance(value, tuple):
            written = [write_elements(item, explicit=explicit) for item in value]
            value = b"".join(_ITEM + _LENGTH.pack(len(item)) + item for item in written)
        parts.append(_header(tag, len(value), explicit=explicit))
        parts.append(value)
    return b"".join(parts)


def _header(tag: int, length: int, *, explicit: bool) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if not explicit:
        return _HEADER.pack(group, element, length)
    vr = vr_of(tag)
    if vr in _LONG_VRS:
        return _LONG.pack(group, element, vr.encode(), 0, length)
    return _SHORT.pack(group, element, vr.encode(), length)
