"""Lossless encodings of a picture."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import FileDataset
from pydicom.uid import JPEGLSLossless, RLELossless

from cxr_pacs.errors import EvidenceError

__all__ = ["Encoding", "encode"]

Encoding = Literal["native", "rle", "jpeg-ls"]

# one encoder for each, wherever it runs: another one may write other bytes
_ENCODERS: Final = MappingProxyType(
    {"rle": (RLELossless, "pylibjpeg"), "jpeg-ls": (JPEGLSLossless, "pyjpegls")}
)


def encode(dataset: FileDataset, pixels: NDArray[np.uint8], encoding: Encoding) -> None:
    """Encapsulate the native `pixels` of `dataset` losslessly; ``native`` leaves them as they are.

    Parameters
    ----------
    dataset : FileDataset
        With its Image Pixel module; its transfer syntax and pixel data change.
    pixels : uint8 ndarray, shape (rows, columns, 3)
    encoding : str
        ``native``, ``rle`` or ``jpeg-ls``.

    Raises
    ------
    EvidenceError
        The encoder fails.

    References
    ----------
    PS3.5 8.2.2 (RLE), 8.2.3 (JPEG-LS), A.4.
    """
    if encoding in _ENCODERS:
        syntax, plugin = _ENCODERS[encoding]
        try:
            dataset.compress(syntax, pixels, encoding_plugin=plugin, generate_instance_uid=False)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise EvidenceError(
                f"the picture cannot be encoded as {encoding}: {type(error).__name__}"
            ) from error
