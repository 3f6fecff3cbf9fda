"""Which transfer syntaxes this installation decodes, found by decoding a small sample of each."""

from __future__ import annotations

import functools
import io

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.pixel_samples import CODE_STREAMS
from cxr_pacs.radiograph.pixels import DECODERS, NATIVE, decode

__all__ = ["decodable_transfer_syntaxes"]

_RAMP = 4 * np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
# Of the 12-bit range: what the lossy samples may lose, far below what a wrong decoder does.
_TOLERANCE = 64


@functools.cache
def decodable_transfer_syntaxes() -> tuple[str, ...]:
    """UIDs of the transfer syntaxes to negotiate, uncompressed ones first.

    Returns
    -------
    tuple of str
        Those whose sample was written to a file image, read back, decoded, and found right.
    """
    return tuple(str(syntax) for syntax in (*NATIVE, *DECODERS) if _decodes(syntax))


def _decodes(syntax: UID) -> bool:
    try:
        pixels = decode(dcmread(io.BytesIO(_sample(syntax))))
    except UnreadablePixels:
        return False
    shown = pixels.codes.astype(np.int32) << (12 - pixels.bits)
    return bool(np.abs(shown - _RAMP).max() <= _TOLERANCE)


def _sample(syntax: UID) -> bytes:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = _RAMP.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    dataset.PixelRepresentation = 0
    frame = CODE_STREAMS.get(syntax)
    dataset.PixelData = _RAMP.astype("<u2").tobytes() if frame is None else encapsulate([frame])
    dataset["PixelData"].VR = "OW" if frame is None else "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
