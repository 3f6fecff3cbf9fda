"""Synthetic chest radiographs as real Part 10 datasets, for every test that needs one.

Nothing here reads a clock or a random source: the same arguments make the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from cxr_pacs.simulator import synthetic_chest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["make_radiograph", "make_stored", "synthetic_chest"]

_NAMESPACE = uuid.UUID("6f6c1f0a-3f0e-5d0c-9a53-0d6c6a1f7b11")
_DCMTK_OPTION = {
    JPEGBaseline8Bit: "+eb",
    JPEGExtended12Bit: "+ee",
    JPEGLossless: "+el",
    JPEGLosslessSV1: "+e1",
}


def make_radiograph(
    *,
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    transfer_syntax: str = ExplicitVRLittleEndian,
    picture: NDArray[np.float32] | None = None,
    **tags: Any,
) -> FileDataset:
    """A frontal chest radiograph (DX for presentation, adult, PA) that shows `picture`.

    Parameters
    ----------
    bits : int
        Bits Stored, 8 to 16; the stored values span them wholly.
    photometric : str
        ``MONOCHROME1`` or ``MONOCHROME2``; the displayed picture is the same.
    transfer_syntax : str
        UID; the ones that pydicom or DCMTK's ``dcmcjpeg`` can write.
    picture : float32 ndarray, shape (rows, columns), optional
        P-values in [0, 1]; a synthetic chest of 512 x 448 when missing.
    **tags
        Elements by keyword, over the defaults and not validated; None removes an element, "" leaves it empty.
        Naming BodyPartExamined also drops the default Anatomic Region Sequence (chest).

    Returns
    -------
    FileDataset
        As read from a Part 10 file; write it with ``save_as(path)``.
    """
    if picture is None:
        picture = synthetic_chest(512, 448, 0)
    top = (1 << bits) - 1
    shown = picture if photometric == "MONOCHROME2" else 1 - picture
    stored = np.rint(np.asarray(shown, np.float64) * top).astype(np.uint16)
    shape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    window = {"WindowCenter": (top + 1) / 2, "WindowWidth": top + 1}
    return make_stored(
        stored,
        bits=bits,
        transfer_syntax=transfer_syntax,
        tags={"PhotometricInterpretation": photometric, "PresentationLUTShape": shape, **window, **tags},
    )


def make_stored(
    stored: NDArray[np.integer[Any]],
    *,
    bits: int,
    transfer_syntax: str = ExplicitVRLittleEndian,
    tags: dict[str, Any],
) -> FileDataset:
    """The same envelope around stored values given outright; signed when they are."""
    signed = np.issubdtype(stored.dtype, np.signedinteger)
    mask = (1 << bits) - 1
    words = (stored.astype(np.int64) & mask).astype("<u2" if bits > 8 else "u1")
    digest = hashlib.sha256(
        repr((words.shape, bits, str(transfer_syntax), sorted(tags.items(), key=str))).encode()
        + words.tobytes()
    ).hexdigest()
    dataset = _envelope(digest)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)
    frame = words.tobytes()
    dataset.PixelData = frame + b"\0" * (len(frame) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    if "BodyPartExamined" in tags:
        del dataset.AnatomicRegionSequence
    for keyword, value in tags.items():
        tag = tag_for_keyword(keyword)
        if value is not None:  # equipment validates nothing, so neither does this
            dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)
        elif tag in dataset:
            del dataset[tag]
    return _encoded(dataset, UID(transfer_syntax))


def _uid(digest: str, what: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{digest}|{what}').int}"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _envelope(digest: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _uid(digest, "instance")
    dataset.SeriesInstanceUID = _uid(digest, "series")
    dataset.StudyInstanceUID = _uid(digest, "study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber = "A-0001"
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = "Example Imaging"
    dataset.ManufacturerModelName = "Synthetic Detector"
    dataset.SoftwareVersions = "1.0"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest PA"
    dataset.PatientName = "Example^Patient"
    dataset.PatientID = "P-0001"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientAge = "056Y"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_code("816094009", "Chest")]
    dataset.AcquisitionContextSequence = []
    dataset.DetectorType = dataset.PositionerType = ""
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.ImagerPixelSpacing = [0.5, 0.5]
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    return dataset


def _encoded(dataset: Dataset, transfer_syntax: UID) -> FileDataset:
    """`dataset` as a file in `transfer_syntax`, read back."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID")
    uid = UID(dataset.get("SOPInstanceUID") or "", config.IGNORE)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid if uid.is_valid else UID("2.25.1")
    if transfer_syntax.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if transfer_syntax in _DCMTK_OPTION:
            return _by_dcmtk(dataset, _DCMTK_OPTION[transfer_syntax])
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
    return _read_back(_part10(dataset))


def _by_dcmtk(dataset: Dataset, option: str) -> FileDataset:
    with tempfile.TemporaryDirectory() as folder:
        native, compressed = Path(folder, "native.dcm"), Path(folder, "compressed.dcm")
        native.write_bytes(_part10(dataset))
        subprocess.run(["dcmcjpeg", option, "--uid-never", native, compressed], check=True)
        return _read_back(compressed.read_bytes())


def _part10(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.file_meta.FileMetaInformationGroupLength = 0  # written as it comes out
    dataset.file_meta.FileMetaInformationVersion = b"\0\1"
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.preamble = bytes(128)
    dataset.save_as(buffer)
    return buffer.getvalue()


def _read_back(encoded: bytes) -> FileDataset:
    return dcmread(io.BytesIO(encoded))
