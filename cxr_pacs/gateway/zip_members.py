"""Members of a ZIP archive: listed from its directory once, each read on its own, never more than is allowed.

A member is read at its own place in the file, so that many processes may read one archive and none of them
has to read its directory again. Nothing is ever unpacked to the disk.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_pacs.errors import UnreadableMedium
from cxr_pacs.gateway.zip_directory import check_directory

__all__ = ["MAXIMUM_MEMBERS", "ZipMember", "list_members"]

MAXIMUM_MEMBERS = 1_000_000
"""Names in one archive; their list is held in memory while the archive is read."""

_HARMLESS = 1 << 30  # bytes; so much may come of any archive
_LARGEST_RATIO = 200  # of unpacked to packed, beyond that; radiographs reach 10, an empty one 1000
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
# Of what `zipfile` raises, an empty name brings IndexError, and a place beyond any file the last two.
_DAMAGED = (
    *(zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error),
    *(IndexError, ValueError, OverflowError),
)
_MISPLACED = "The archive is damaged: the member is not where its directory says."


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """Where a member lies in its archive.

    Attributes
    ----------
    name : str
        As the archive has it, with ``/`` between folders.
    offset, packed, size : int
        Bytes: of its local header, in the archive, and unpacked.
    crc : int
        CRC-32 of what is unpacked.
    method : int
        Compression method of APPNOTE 4.4.5: 0 stored, 8 deflated.
    encrypted : bool
        Whether a password is needed.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    encrypted: bool

    @property
    def fault(self) -> str | None:
        """Why it cannot be read, as far as the archive's directory tells."""
        if self.encrypted:
            return "It is encrypted: unpack the archive with its password first."
        if self.method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            return (
                f"Its compression (method {self.method}) is not read: only stored and deflated members are."
            )
        if self.offset < 0 or self.packed > self.size + self.size // 100 + 1024:
            return _MISPLACED
        return None

    def read(self, archive: Path) -> bytes:
        """Unpack the member.

        Raises
        ------
        UnreadableMedium
            It is encrypted, in an unknown compression, or damaged.
        OSError
            The archive cannot be read.
        """
        if self.fault is not None:
            raise UnreadableMedium(self.fault)
        with archive.open("rb") as file:
            if self.offset >= file.seek(0, os.SEEK_END):  # perhaps more than a file can have
                raise UnreadableMedium(_MISPLACED)
            file.seek(self.offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) == _LOCAL_HEADER.size:
                signature, name, extra = _LOCAL_HEADER.unpack(header)
                if signature == b"PK\x03\x04":
                    file.seek(name + extra, 1)
                    return self._unpacked(file.read(self.packed))
        raise UnreadableMedium(_MISPLACED)

    def _unpacked(self, packed: bytes) -> bytes:
        content = packed
        if self.method == zipfile.ZIP_DEFLATED:
            try:
                # One byte more tells what is longer than the directory says.
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.size + 1)
            except zlib.error:
                content = b""
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise UnreadableMedium("The member is damaged: its content is not what its check sum says.")
        return content


def list_members(archive: Path) -> Sequence[ZipMember]:
    """List the files in `archive`, in its own order.

    Raises
    ------
    UnreadableMedium
        It is damaged, has more than `MAXIMUM_MEMBERS`, or unpacked it would be larger than any honest archive
        of radiographs.
    OSError
        It cannot be read.
    """
    size = archive.stat().st_size
    try:
        check_directory(archive, MAXIMUM_MEMBERS)
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
    except _DAMAGED as error:
        raise UnreadableMedium(
            f"The ZIP archive is damaged or incomplete ({type(error).__name__})."
        ) from error
    total = sum(info.file_size for info in infos)
    if total > max(_HARMLESS, _LARGEST_RATIO * size):
        raise UnreadableMedium(
            f"The ZIP archive of {size} bytes says it holds {total}: it is taken for a bomb, "
            "and nothing in it is read. Unpack it by hand if it is none."
        )
    return [
        ZipMember(
            name=info.filename,
            offset=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            method=info.compress_type,
            encrypted=bool(info.flag_bits & _ENCRYPTED),
        )
        for info in infos
    ]
