"""Data sets without preamble or file meta information, as older equipment writes them: made Part 10 files.

The data set itself stays byte for byte as it was (PS3.10 7.1).
"""

from __future__ import annotations

import io

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import VR

__all__ = ["dataset_bytes", "with_preamble"]

_PREAMBLE = bytes(128)
_META = b"\x02\x00"
_IDENTIFYING = b"\x08\x00"
_VRS = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2)


def with_preamble(content: bytes) -> bytes:
    """Complete `content` to a Part 10 file where it is a little endian data set; else return it as it is.

    Without file meta information the transfer syntax is native, implicit or explicit by the first element.
    """
    if content.startswith(b"DICM" + _META):
        return _PREAMBLE + content
    if content.startswith(_META) and content[4:6] in _VRS:
        return _PREAMBLE + b"DICM" + content
    if not content.startswith(_IDENTIFYING):
        return content
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if content[4:6] in _VRS else ImplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    buffer = DicomBytesIO()
    buffer.write(_PREAMBLE + b"DICM")
    try:
        header = _identity(content)
        meta.MediaStorageSOPClassUID = header.SOPClassUID
        meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        write_file_meta_info(buffer, meta, enforce_standard=True)
    except Exception:  # noqa: BLE001  pydicom raises anything for bytes that are not DICOM
        return content
    return buffer.getvalue() + content


def dataset_bytes(part10: bytes) -> bytes:
    """Return the data set of a Part 10 file that was read, without preamble and file meta information."""
    with io.BytesIO(part10) as file:
        file.seek(len(_PREAMBLE) + 4)
        read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
        return part10[file.tell() :]


def _identity(content: bytes) -> Dataset:
    keywords = ["SOPClassUID", "SOPInstanceUID"]
    return dcmread(io.BytesIO(content), force=True, stop_before_pixels=True, specific_tags=keywords)
