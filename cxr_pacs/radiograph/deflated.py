"""Deflated data sets (PS3.5 A.5): how far they are inflated. A thousandth of its size makes a bomb."""

from __future__ import annotations

import zlib
from io import BytesIO

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.pixels import MAXIMUM_PIXELS

__all__ = ["MAXIMUM_INFLATED", "check_inflation"]

MAXIMUM_INFLATED = 2 * MAXIMUM_PIXELS + (16 << 20)
"""Bytes: the largest picture that is read, of 16 bits, and 16 MB of everything else."""

_AT_ONCE = 1 << 20


def check_inflation(deflated: bytes) -> None:
    """Inflate a data set piece by piece, keeping none of it, for as long as it may be.

    Raises
    ------
    UnreadablePixels
        It is larger than `MAXIMUM_INFLATED`.
    zlib.error
        It is not deflated.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with BytesIO(deflated) as source:
        while size <= MAXIMUM_INFLATED and not inflater.eof:
            piece = inflater.unconsumed_tail or source.read(_AT_ONCE)
            if not piece:
                break
            size += len(inflater.decompress(piece, _AT_ONCE))
    if not inflater.unconsumed_tail:
        size += len(inflater.flush())  # of the last symbols: some kilobytes at most
    if size > MAXIMUM_INFLATED:
        raise UnreadablePixels(
            f"The deflated data set holds more than the {MAXIMUM_INFLATED} bytes that are read."
        )
