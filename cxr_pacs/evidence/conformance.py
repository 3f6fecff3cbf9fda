"""What we check of an object before it may leave.

Our own look at the finished object, independent of the code that built it. External validators see more; this
one is there on every site, for every object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEGLSLossless,
    KeyObjectSelectionDocumentStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cxr_pacs.evidence import codes, words
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
)
_CONTENT_TIME: Final = ("ContentDate", "ContentTime")
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
_SPACINGS: Final = frozenset(
    {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"}
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
# PS3.3 C.8.20.2, C.7.6.16, C.7.6.17, C.12.2
_SEGMENTATION_TYPE_1: Final = (
    "ImageType",
    "DeviceSerialNumber",
    "ContentLabel",
    "SegmentationType",
    "SegmentationFractionalType",
    "SegmentSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "LossyImageCompression",
    "Rows",
    "Columns",
    "PixelData",
)
_FRACTIONS: Final = MappingProxyType(
    {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "NumberOfFrames": 1,
        "SegmentationType": "FRACTIONAL",
        "MaximumFractionalValue": 255,
    }
)
# PS3.3 C.11.10, C.11.11, C.10.4, C.10.5, C.10.7, C.11.6
_PRESENTATION_TYPE_1: Final = (
    "PresentationCreationDate",
    "PresentationCreationTime",
    "ContentLabel",
    "ReferencedSeriesSequence",
    "DisplayedAreaSelectionSequence",
    "GraphicAnnotationSequence",
    "GraphicLayerSequence",
    "PresentationLUTShape",
)
# PS3.3 C.17.6.1, C.17.6.2
_SELECTION_TYPE_1: Final = (
    "CurrentRequestedProcedureEvidenceSequence",
    "ConceptNameCodeSequence",
    "ContentSequence",
    "ContinuityOfContent",
    "ContentTemplateSequence",
)
# the compressed pictures that cxr-pacs makes
_DECODERS: Final = MappingProxyType({RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"})
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
    yield from _absent(dataset, (*_CONTENT_TIME, *_REPORT_TYPE_1), _REPORT_TYPE_2)
    if (dataset.get("VerificationFlag"), dataset.get("PreliminaryFlag")) != ("UNVERIFIED", "PRELIMINARY"):
        yield "the report claims to be verified or final"
    predecessors = dataset.get("PredecessorDocumentsSequence") or ()
    if any(study.StudyInstanceUID != dataset.get("StudyInstanceUID") for study in predecessors):
        yield "the predecessor lies in another study"
    yield from _document(dataset)


def _measurements(dataset: Dataset) -> Iterator[str]:
    yield from _report(dataset)
    tree = _descendants(dataset)
    names = {name.CodeValue for item in tree for name in item.get("ConceptNameCodeSequence") or ()}
    if codes.CONCLUSION.value not in names:
        yield "the report concludes nothing"


def _document(dataset: Dataset) -> Iterator[str]:
    """Check what a report and a key object selection share: disclaimer, evidence for all in the tree."""
    yield from _described(dataset)
    tree = list(_descendants(dataset))
    if not any(_disclaims(str(item.get("TextValue", ""))) for item in tree):
        yield "the content tree lacks the disclaimer"
    evidence = dataset.get("CurrentRequestedProcedureEvidenceSequence") or ()
    if any(study.StudyInstanceUID != dataset.get("StudyInstanceUID") for study in evidence):
        yield "the evidence lies in another study"
    listed = {
        sop.ReferencedSOPInstanceUID
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    used = {sop.ReferencedSOPInstanceUID for item in tree for sop in item.get("ReferencedSOPSequence") or ()}
    if not used <= listed:
        yield "the content tree refers to an instance that the evidence does not list"


def _disclaims(text: str) -> bool:
    return any(words.DISCLAIMER.say(language) in text for language in words.LANGUAGES)


def _described(dataset: Dataset) -> Iterator[str]:
    if DISCLAIMER not in str(dataset.get("SeriesDescription", "")):
        yield "the series description lacks the disclaimer"


def _capture(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, (*_CONTENT_TIME, *_CAPTURE_TYPE_1), _CAPTURE_TYPE_2)
    yield from _pixels(dataset, _RGB)
    if dataset.get("BurnedInAnnotation") != "NO":
        yield "the picture is not declared free of identity"
    sources = dataset.get("SourceImageSequence") or ()
    resampled = any(source.get("SpatialLocationsPreserved") != "YES" for source in sources)
    if resampled and _SPACINGS & set(dataset.dir()):
        yield "a resampled picture must not carry a spacing"
    if DISCLAIMER not in str(dataset.get("DerivationDescription", "")):
        yield "the derivation description lacks the disclaimer"


def _segmentation(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, (*_CONTENT_TIME, *_SEGMENTATION_TYPE_1), ("ContentCreatorName",))
    yield from _pixels(dataset, _FRACTIONS)
    yield from _described(dataset)
    segments = dataset.get("SegmentSequence") or ()
    if len(segments) != 1:
        yield "there is not exactly one segment"
    if not any(DISCLAIMER in segment.get("SegmentDescription", "") for segment in segments):
        yield "the segment's description lacks the disclaimer"


def _presentation(dataset: Dataset) -> Iterator[str]:
    yield from _absent(dataset, _PRESENTATION_TYPE_1, ("ContentCreatorName",))
    yield from _described(dataset)
    annotations = dataset.get("GraphicAnnotationSequence") or ()
    texts = [text for annotation in annotations for text in annotation.get("TextObjectSequence") or ()]
    if not any(_disclaims(text.get("UnformattedTextValue", "")) for text in texts):
        yield "the words over the picture lack the disclaimer"
    listed = {
        image.ReferencedSOPInstanceUID
        for series in dataset.get("ReferencedSeriesSequence") or ()
        for image in series.get("ReferencedImageSequence") or ()
    }
    used = {
        image.ReferencedSOPInstanceUID
        for annotation in annotations
        for image in annotation.get("ReferencedImageSequence") or ()
    }
    if not used or not used <= listed:
        yield "the annotation refers to an image that the presentation state does not list"
    if dataset.get("PresentationLUTShape") not in {"IDENTITY", "INVERSE"}:
        yield "PresentationLUTShape is neither IDENTITY nor INVERSE"


def _selection(dataset: Dataset) -> Iterator[str]:
    type_1 = (*_CONTENT_TIME, *_SELECTION_TYPE_1)
    yield from _absent(dataset, type_1, ("ReferencedPerformedProcedureStepSequence",))
    yield from _document(dataset)


def _pixels(dataset: Dataset, wanted: Mapping[str, object]) -> Iterator[str]:
    """Image Pixel attributes that are not as `wanted`, and pixel data of another size than they tell."""
    for keyword, value in wanted.items():
        if dataset.get(keyword) != value:
            yield f"{keyword} is not {value}"
    samples = int(dataset.get("SamplesPerPixel") or 0)
    size = samples * int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    if _pixel_bytes(dataset) != size + size % 2:
        yield "the pixel data does not have the size that rows and columns tell"


def _pixel_bytes(dataset: Dataset) -> int | None:
    """Length of the pixel data once it is native; None where it cannot be decoded."""
    data = dataset.get("PixelData") or b""
    meta = getattr(dataset, "file_meta", None) or Dataset()
    syntax = meta.get("TransferSyntaxUID")
    if syntax not in _DECODERS or not data:
        return len(data)
    try:
        native, _ = get_decoder(syntax).as_buffer(dataset, raw=True, decoding_plugin=_DECODERS[syntax])
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError):
        return None
    return len(native) + len(native) % 2


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
    {
        BasicTextSRStorage: _report,
        Comprehensive3DSRStorage: _measurements,
        GrayscaleSoftcopyPresentationStateStorage: _presentation,
        KeyObjectSelectionDocumentStorage: _selection,
        SecondaryCaptureImageStorage: _capture,
        SegmentationStorage: _segmentation,
    }
)
