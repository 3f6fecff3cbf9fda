"""What we check of an object before it may leave.

Our own look at the finished object, independent of the code that built it. External validators see more; this
one is there on every site, for every object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from cxr_pacs.evidence.identity import is_own_output
from cxr_pacs.evidence.provenance import DISCLAIMER

__all__ = ["check"]

# PS3.3 C.7.1.1, C.7.2.1, C.7.5.1, C.12.1, and what is ours to add
_TYPE_1: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "Modality",
    "SoftwareVersions",
    "ContributingEquipmentSequence",
    "ContentDate",
    "ContentTime",
)
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
# PS3.3 C.17.1, C.17.2, C.17.3
_REPORT_TYPE_1: Final = (
    "CompletionFlag",
    "VerificationFlag",
    "ConceptNameCodeSequence",
    "ContentSequence",
    "ContinuityOfContent",
    "ContentTemplateSequence",
    "CurrentRequestedProcedureEvidenceSequence",
)
_REPORT_TYPE_2: Final = ("PerformedProcedureCodeSequence", "ReferencedPerformedProcedureStepSequence")
# PS3.3 C.7.6.1, C.7.6.3, C.8.6.1
_CAPTURE_TYPE_1: Final = (
    "ConversionType",
    "ImageType",
    "SourceImageSequence",
    "DerivationDescription",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "Rows",
    "Columns",
    "PixelData",
)
_CAPTURE_TYPE_2: Final = ("PatientOrientation",)
_RGB: Final = MappingProxyType(
    {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
)
# PS3.5 9.1
_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


def check(dataset: Dataset) -> tuple[str, ...]:
    """Problems that keep `dataset` from leaving, one sentence each and free of patient identity.

    Returns
    -------
    tuple of str
        Empty when it may leave.
    """
    particular = _PARTICULAR.get(dataset.get("SOPClassUID"))
    if particular is None:
        return ("the SOP Class is none that cxr-pacs makes",)
    return (*_common(dataset), *particular(dataset))


def _common(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, _TYPE_1, _TYPE_2)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        uid = str(dataset.get(keyword, ""))
        if len(uid) > 64 or not _UID.fullmatch(uid):
            yield f"{keyword} is not a UID"
    if not is_own_output(dataset):
        yield "SOP Instance UID and equipment do not show that cxr-pacs made it"
    if not all(item.get("DeviceUID") for item in dataset.get("ContributingEquipmentSequence") or ()):
        yield "the contributing equipment has no Device UID"


def _report(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, _REPORT_TYPE_1, _REPORT_TYPE_2)
    if (dataset.get("VerificationFlag"), dataset.get("PreliminaryFlag")) != ("UNVERIFIED", "PRELIMINARY"):
        yield "the report claims to be verified or final"
    if DISCLAIMER not in str(dataset.get("SeriesDescription", "")):
        yield "the series description lacks the disclaimer"
    tree = list(_descendants(dataset))
    if not any(DISCLAIMER in str(item.get("TextValue", "")) for item in tree):
        yield "the content tree lacks the disclaimer"
    evidence = dataset.get("CurrentRequestedProcedureEvidenceSequence") or ()
    predecessors = dataset.get("PredecessorDocumentsSequence") or ()
    if any(study.StudyInstanceUID != dataset.get("StudyInstanceUID") for study in (*evidence, *predecessors)):
        yield "the evidence or the predecessor lies in another study"
    listed = {
        sop.ReferencedSOPInstanceUID
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    used = {sop.ReferencedSOPInstanceUID for item in tree for sop in item.get("ReferencedSOPSequence") or ()}
    if not used <= listed:
        yield "the content tree refers to an instance that the evidence does not list"


def _capture(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, _CAPTURE_TYPE_1, _CAPTURE_TYPE_2)
    for keyword, value in _RGB.items():
        if dataset.get(keyword) != value:
            yield f"{keyword} is not {value}"
    size = 3 * int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    if len(dataset.get("PixelData") or b"") != size + size % 2:
        yield "the pixel data does not have the size that rows and columns tell"
    if dataset.get("BurnedInAnnotation") != "NO":
        yield "the picture is not declared free of identity"
    if {"PixelSpacing", "ImagerPixelSpacing"} & set(dataset.dir()):
        yield "a resampled picture must not carry a spacing"
    if DISCLAIMER not in str(dataset.get("DerivationDescription", "")):
        yield "the derivation description lacks the disclaimer"


def _absent(dataset: Dataset, type_1: tuple[str, ...], type_2: tuple[str, ...]) -> Iterator[str]:
    for keyword in type_1:
        if keyword not in dataset or dataset[keyword].is_empty:
            yield f"{keyword} is missing or empty"
    for keyword in type_2:
        if keyword not in dataset:
            yield f"{keyword} is missing"


def _descendants(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _descendants(child)


_PARTICULAR: Final[MappingProxyType[str, Callable[[Dataset], Iterator[str]]]] = MappingProxyType(
    {Comprehensive3DSRStorage: _report, SecondaryCaptureImageStorage: _capture}
)
