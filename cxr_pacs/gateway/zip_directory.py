"""The directory of a ZIP archive, looked at before it is read whole.

`zipfile` makes an object of every entry, a tenfold of its bytes: what would fill the memory is refused.

References
----------
APPNOTE.TXT 6.3.9, 4.3.12 (entries), 4.3.14 to 4.3.16 (end of the directory, ZIP64).
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from cxr_pacs.errors import UnreadableMedium

__all__ = ["check_directory"]

_LONGEST_MEAN = 256  # bytes of an entry, with its name
_LONGEST_COMMENT = (1 << 16) - 1
_ENTRY = struct.Struct("<4s24xHHH12x")
_END = struct.Struct("<4s8xI6x")
_END_64 = struct.Struct("<4s36xQ8x")
_LOCATOR = struct.Struct("<4s16x")


def check_directory(archive: Path, most: int) -> None:
    """Walk the headers of a directory that is not too long, in constant memory.

    Raises
    ------
    UnreadableMedium
        It has more than `most` entries, or more bytes than so many honest ones.
    BadZipFile
        It has no end.
    OSError
        It cannot be read.
    """
    with archive.open("rb") as file:
        end, size = _place(file)
        if size > _LONGEST_MEAN * most:
            raise UnreadableMedium(
                f"The ZIP archive's directory has {size} bytes: nothing in it is read. Divide or unpack it."
            )
        file.seek(max(0, end - size))
        count = 0
        while size > 0:
            entry = file.read(_ENTRY.size)
            if len(entry) < _ENTRY.size or not entry.startswith(b"PK\x01\x02"):
                return  # so it is damaged, as who reads it tells
            lengths = sum(_ENTRY.unpack(entry)[1:])
            file.seek(lengths, os.SEEK_CUR)
            size -= _ENTRY.size + lengths
            count += 1
            if count > most:
                raise UnreadableMedium(
                    f"The ZIP archive has more than {most} members: nothing in it is read. "
                    "Divide or unpack it."
                )


def _place(file: BinaryIO) -> tuple[int, int]:
    """Where the directory ends, and its length, both in bytes, as `zipfile` finds them."""
    length = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, length - _END.size - _LONGEST_COMMENT - 1))
    tail = file.read()
    at = len(tail) - _END.size
    if at < 0 or not (tail.startswith(b"PK\x05\x06", at) and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\x05\x06", 0, max(0, at) + 4)
    if at < 0:
        raise zipfile.BadZipFile("no end of the directory")
    size = int(_END.unpack_from(tail, at)[1])
    end = start + at
    wide = end - _LOCATOR.size - _END_64.size
    if wide >= 0:
        file.seek(wide)
        record = file.read(_END_64.size + _LOCATOR.size)
        # Where there is a locator its record counts, whatever the short one says.
        if record.startswith(b"PK\x06\x07", _END_64.size):
            if not record.startswith(b"PK\x06\x06"):
                raise zipfile.BadZipFile("no ZIP64 record where its locator is")
            return wide, int(_END_64.unpack_from(record)[1])
    return end, size
