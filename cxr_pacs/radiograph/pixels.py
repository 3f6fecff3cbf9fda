"""Decoding the pixel data of every transfer syntax that is negotiated, with limits against hostile sizes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.elements import values
from cxr_pacs.radiograph.header import ImageDescription, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DECODERS", "MAXIMUM_PIXELS", "NATIVE", "StoredPixels", "decode"]

MAXIMUM_PIXELS = 1 << 26
"""Four times the largest detector in use (about 4300 x 3500); one float32 copy of it takes 256 MB."""

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)

# The fastest exact plugin for each, measured on 2048 x 2500 x 16 bit: JPEG-LS takes 84 ms with pyjpegls and
# 356 with pylibjpeg, RLE 10 ms with pylibjpeg and 81 with pydicom.
DECODERS = {
    RLELossless: "pylibjpeg",
    JPEGBaseline8Bit: "pylibjpeg",
    JPEGExtended12Bit: "pylibjpeg",
    JPEGLossless: "pylibjpeg",
    JPEGLosslessSV1: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
# EOI of JPEG and JPEG-LS, EOC of JPEG 2000; none of them can occur within coded data.
_END = b"\xff\xd9"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPixels:
    """Stored values as bit patterns, so that a table with 2**bits entries maps any of them.

    Attributes
    ----------
    codes : uint8 or uint16 ndarray, shape (rows, columns)
        The low `bits` bits of each stored value; two's complement when `signed`.
    bits : int
        Bits Stored, 8 to 16.
    signed : bool
        Pixel Representation.
    """

    codes: NDArray[np.unsignedinteger[Any]]
    bits: int
    signed: bool

    def stored_values(self) -> NDArray[np.int64]:
        """Return the stored value of every code, shape (2**bits,)."""
        codes = np.arange(1 << self.bits)
        return np.where(codes >> (self.bits - 1), codes - (1 << self.bits), codes) if self.signed else codes


def decode(dataset: Dataset) -> StoredPixels:
    """Decode the single grayscale frame of `dataset`.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With file meta information, as read from a Part 10 file.

    Returns
    -------
    StoredPixels
        The stored values, before any look-up table.

    Raises
    ------
    UnreadablePixels
        Pixel data that is absent, truncated, contradictory, too large, or in a transfer syntax not read.
    """
    facts = read_header(dataset)
    image = facts.image
    rows, columns, bits = _checked(image)
    signed = image.pixel_representation == 1
    syntax = UID(facts.transfer_syntax_uid or "")
    data = _pixel_data(dataset)
    if syntax in NATIVE:
        raw = _native(data, (rows, columns), image.bits_allocated == 16)
        codes = raw if bits == 8 * raw.itemsize else raw & raw.dtype.type((1 << bits) - 1)
    elif syntax in DECODERS:
        if len(data) > 4 * rows * columns + 65536:
            raise UnreadablePixels("The compressed pixel data is far larger than the picture it should hold.")
        raw = _decompressed(data, (rows, columns), image, syntax)
        codes = _within_bits(raw, bits, signed)
    else:
        raise UnreadablePixels("The transfer syntax is missing or not one that is read.")
    return StoredPixels(codes=codes, bits=bits, signed=signed)


def _checked(image: ImageDescription) -> tuple[int, int, int]:
    """Rows, columns and bits, once the description of the image makes sense."""
    if not image.has_pixel_data:
        raise UnreadablePixels("The object has no pixel data.")
    if image.frames != 1 or image.samples_per_pixel not in {None, 1}:
        raise UnreadablePixels("Not a single grayscale frame: multi-frame and colour images are not read.")
    rows, columns = image.rows or 0, image.columns or 0
    if min(rows, columns) < 1:
        raise UnreadablePixels(
            f"The picture has {rows} rows and {columns} columns: there is nothing to read."
        )
    if rows * columns > MAXIMUM_PIXELS:
        raise UnreadablePixels(f"{rows} x {columns} pixels are more than the {MAXIMUM_PIXELS} that are read.")
    if image.bits_problem is not None or image.bits_stored is None:
        raise UnreadablePixels(image.bits_problem or "Bits Stored is missing.")
    return rows, columns, image.bits_stored


def _pixel_data(dataset: Dataset) -> bytes:
    data = next(iter(values(dataset, "PixelData")), None)
    if not isinstance(data, bytes) or not data:
        raise UnreadablePixels("Pixel Data is empty.")
    return data


def _native(data: bytes, shape: tuple[int, int], wide: bool) -> NDArray[np.unsignedinteger[Any]]:  # noqa: FBT001
    """Return the pixel cells of native data (PS3.5 8.1.1), which may end with one padding byte."""
    count = shape[0] * shape[1]
    expected = count * (2 if wide else 1)
    if not expected <= len(data) <= expected + 1:
        raise UnreadablePixels(
            f"Pixel Data has {len(data)} bytes where {shape[0]} x {shape[1]} pixels need {expected}."
        )
    return np.frombuffer(data, "<u2" if wide else "u1", count).reshape(shape)


def _decompressed(
    data: bytes, shape: tuple[int, int], image: ImageDescription, syntax: UID
) -> NDArray[np.unsignedinteger[Any]]:
    """Return the frame as the decoder left it, in a container of 8 or 16 bits."""
    try:
        frame = get_frame(data, 0, number_of_frames=1)
        precision = image.bits_allocated if syntax == RLELossless else _check_code_stream(frame, shape)
        wide = (precision or 16) > 8
        request = _request(data, shape, image, syntax)
        request.BitsAllocated = 16 if wide else 8
        buffer, _ = get_decoder(syntax).as_buffer(
            request, index=0, validate=False, decoding_plugin=DECODERS[syntax]
        )
        return np.frombuffer(buffer, "<u2" if wide else "u1").reshape(shape)
    except (UnreadablePixels, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders raise anything; a panic in the Rust one is no Exception
        raise UnreadablePixels(f"The {syntax.name} frame is damaged or incomplete.") from error


def _request(data: bytes, shape: tuple[int, int], image: ImageDescription, syntax: UID) -> Dataset:
    """Make a dataset for the decoder with nothing in it that the header could have got wrong."""
    request = Dataset()
    request.file_meta = FileMetaDataset()
    request.file_meta.TransferSyntaxUID = syntax
    request.Rows, request.Columns = shape
    request.SamplesPerPixel, request.PhotometricInterpretation = 1, "MONOCHROME2"
    request.BitsStored = image.bits_stored
    request.PixelRepresentation = 0  # bits are wanted as they are; signs come later
    request.PixelData = data
    request["PixelData"].VR = "OB"
    return request


def _check_code_stream(frame: bytes, shape: tuple[int, int]) -> int:
    """Compare the size of a JPEG, JPEG-LS or JPEG 2000 frame with the header's and return its precision.

    A decoder allocates what the code stream asks for, so this stands before it.
    """
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1024)  # SOC, SIZ; some send the JP2 boxes before them
    if start >= 0:  # ISO/IEC 15444-1 A.5.1
        width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
        (components,) = struct.unpack_from(">H", frame, start + 40)
        found, precision = (height - top, width - left), (frame[start + 42] & 0x7F) + 1
    else:
        offset = _start_of_frame(frame)  # ISO/IEC 10918-1 B.2.2
        precision, height, width, components = struct.unpack_from(">BHHB", frame, offset + 4)
        found = (height, width)
    if found != shape or components != 1:
        raise UnreadablePixels(
            f"The code stream holds {found[0]} x {found[1]} pixels of {components} samples, "
            f"the header says {shape[0]} x {shape[1]} of 1."
        )
    if _END not in frame[-1024:]:  # JPEG decoders fill in what is cut off, without a word
        raise UnreadablePixels("The code stream has no end: the pixel data is cut off.")
    if precision > 16:
        raise UnreadablePixels(f"The code stream has {precision} bits a pixel; up to 16 are read.")
    return precision


def _start_of_frame(frame: bytes) -> int:
    offset = 2
    while (marker := frame[offset + 1]) not in _START_OF_FRAME:
        if frame[offset] != 0xFF:
            raise UnreadablePixels("The compressed frame is not a JPEG, JPEG-LS or JPEG 2000 code stream.")
        fill = marker == 0xFF
        offset += 1 if fill else 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return offset


def _within_bits(
    raw: NDArray[np.unsignedinteger[Any]],
    bits: int,
    signed: bool,  # noqa: FBT001
) -> NDArray[np.unsignedinteger[Any]]:
    """Bring what a decoder gave to the low `bits` bits, or refuse what is no such value.

    Bits above may repeat the sign, and lossy compression may overshoot the brightest value a little.
    """
    top = (1 << bits) - 1
    highest = int(raw.max())
    if highest <= top:
        return raw
    if not signed and highest <= top + (top >> 4):
        return np.asarray(np.minimum(raw, top), raw.dtype)
    above = raw >> bits
    repeats_sign = (above == (1 << (8 * raw.itemsize - bits)) - 1) & (raw >> (bits - 1) & 1 == 1)
    if not (repeats_sign | (above == 0)).all():
        raise UnreadablePixels("The code stream holds larger values than Bits Stored allows.")
    return raw & raw.dtype.type(top)
