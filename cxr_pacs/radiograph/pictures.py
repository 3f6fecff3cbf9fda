"""PNG and JPEG pictures of radiographs: P-values over the whole range of their depth, colour as luminance."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.pixels import MAXIMUM_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode_picture", "is_picture", "picture_p_values"]

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def is_picture(content: bytes) -> bool:
    """Whether `content` begins as a PNG or JPEG file does."""
    return content.startswith(_SIGNATURES)


def decode_picture(content: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a picture of 8 or 16 bit to gray; an EXIF turn is applied.

    Raises
    ------
    UnreadablePixels
        It is damaged, none, too large, or of another depth.
    """
    decoded: Any = None
    if content:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if decoded is None:
        raise UnreadablePixels("it is no PNG, JPEG or DICOM, or it is damaged")
    if decoded.dtype not in (np.uint8, np.uint16):
        raise UnreadablePixels(f"it holds {decoded.dtype}; 8 or 16 bit without a sign are needed")
    return decoded  # type: ignore[no-any-return]  # OpenCV's types do not tell


def picture_p_values(content: bytes) -> NDArray[np.float32]:
    """Return a picture's P-values in [0, 1].

    Raises
    ------
    UnreadablePixels
        As `decode_picture`; its size is looked at before it is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
            columns, rows = opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadablePixels("The picture is damaged.") from error
    if rows * columns > MAXIMUM_PIXELS:
        raise UnreadablePixels(f"{rows} x {columns} pixels are more than the {MAXIMUM_PIXELS} that are read.")
    try:
        decoded = decode_picture(content)
    except UnreadablePixels as error:
        raise UnreadablePixels(f"The picture cannot be decoded: {error}.") from error
    return np.asarray(decoded, np.float32) / np.float32(np.iinfo(decoded.dtype).max)
