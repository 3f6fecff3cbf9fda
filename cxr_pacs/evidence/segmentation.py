"""The activation map as a fractional Segmentation (PS3.3 A.51), pixel by pixel over its source image.

For software that wants the map itself and lays it over the original: the heatmap picture is for people. Its
fractions are shares of the strongest contribution, which the object says; they outline no lesion.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, SegmentationStorage
from pydicom.valuerep import DSfloat

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes
from cxr_pacs.evidence.attributes import number, required_uid
from cxr_pacs.evidence.identity import Stamp, instance_uid, series_uid
from cxr_pacs.evidence.image_library import patient_orientation, spacing
from cxr_pacs.evidence.picture import HeatmapPicture
from cxr_pacs.evidence.provenance import (
    DISCLAIMER,
    Output,
    common_modules,
    long_string,
    settle_character_set,
)
from cxr_pacs.evidence.secondary_capture import describe_compression, instance_number
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.inference.findings import ClassScore, ModelIdentity

__all__ = ["MAXIMUM", "SERIES_NUMBER", "segmentation"]

SERIES_NUMBER: Final = 9003
SERIES_DESCRIPTION: Final = f"AI CXR activation map - {DISCLAIMER}"
MAXIMUM: Final = 255

# calibrated before that at the detector (PS3.3 10.7)
_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing")
# amber, as PCS values (PS3.3 C.10.7.1.1)
_COLOUR: Final = [53083, 36237, 50886]


def segmentation(instance: ReadInstance, picture: HeatmapPicture, stamp: Stamp) -> FileDataset | None:
    """Segmentation of one segment: the map of the class that `picture` shows, in the geometry of its source.

    Parameters
    ----------
    instance : ReadInstance
        The source image; it is not changed.
    picture : HeatmapPicture
        The map has the rows and columns of the source.
    stamp : Stamp
        Pins UIDs and times: the same arguments give the same bytes.

    Returns
    -------
    FileDataset or None
        8 bits, 0 to 255 for 0 to 1; None where nothing argues for the class, since there is no segment then.

    Raises
    ------
    EvidenceError
        The source cannot be referenced, the class has no code, or the map is not a map of this source.

    References
    ----------
    PS3.3 C.8.20.1 to C.8.20.4 (Segmentation Series, Image, Macros), C.7.6.16 and C.7.6.17 (Multi-frame
    Functional Groups, Dimension), C.12.2 (Common Instance Reference), 10.16 (Algorithm Identification).
    """
    frame = _frame(instance.header, picture.saliency)
    if not frame.any():
        return None
    header, model, shown = instance.header, instance.findings.model, picture.shown
    dataset = common_modules(header, _output(instance, shown, stamp), model, stamp)
    dataset.DeviceSerialNumber = long_string(model.device_uid)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel = "AI_ACTIVATION"
    dataset.ContentDescription = long_string(f"Class activation map - {DISCLAIMER}")
    dataset.ContentCreatorName = ""
    describe_compression(dataset, header)
    dataset.BurnedInAnnotation = "NO"
    dataset.SegmentationType = "FRACTIONAL"
    dataset.SegmentationFractionalType = "PROBABILITY"
    dataset.MaximumFractionalValue = MAXIMUM
    dataset.SegmentsOverlap = "NO"
    dataset.SegmentSequence = [_segment(instance, shown, stamp)]
    _set_frame(dataset, instance, frame, stamp)
    dataset.PatientOrientation = patient_orientation(header)
    series = _item_of(
        SeriesInstanceUID=required_uid(header, "SeriesInstanceUID"),
        ReferencedInstanceSequence=[image_reference(header)],
    )
    dataset.ReferencedSeriesSequence = [series]
    settle_character_set(dataset, header)
    return dataset


def _frame(header: Dataset, saliency: NDArray[np.float32]) -> NDArray[np.uint8]:
    shape = (number(header, "Rows"), number(header, "Columns"))
    if saliency.shape != shape:
        raise EvidenceError(
            f"a segmentation needs a map of its source's {shape} pixels, not {saliency.shape}"
        )
    if not np.isfinite(saliency).all():
        raise EvidenceError("a segmentation cannot hold values that are not finite")
    return np.asarray(np.rint(np.clip(saliency, 0, 1) * np.float32(MAXIMUM)), dtype=np.uint8)


def _output(instance: ReadInstance, shown: ClassScore, stamp: Stamp) -> Output:
    header, model = instance.header, instance.findings.model
    source, study = (required_uid(header, keyword) for keyword in ("SOPInstanceUID", "StudyInstanceUID"))
    return Output(
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=instance_uid(
            stamp, [source], model.digest, f"segmentation|{shown.head}|{shown.label}"
        ),
        series_instance_uid=series_uid(stamp, study, model.digest, "segmentation"),
        modality="SEG",
        series_description=SERIES_DESCRIPTION,
        series_number=SERIES_NUMBER,
        instance_number=instance_number(header),
    )


def _segment(instance: ReadInstance, shown: ClassScore, stamp: Stamp) -> Dataset:
    """Item of Segment Sequence; tracked as the class's measurement group in the report is."""
    model = instance.findings.model
    source = required_uid(instance.header, "SOPInstanceUID")
    name = codes.coded_class(model, shown.label).name
    segment = Dataset()
    segment.SegmentNumber = 1
    segment.SegmentLabel = long_string(f"{name}: activation map")
    segment.SegmentDescription = (
        f"Class activation map of class {shown.label} of head {shown.head}: contribution to its logit as a "
        f"share of the strongest here, no outline of a lesion. {DISCLAIMER}."
    )[:1024]
    segment.SegmentAlgorithmType = "AUTOMATIC"
    segment.SegmentAlgorithmName = long_string(model.name)
    segment.SegmentationAlgorithmIdentificationSequence = [_algorithm(model)]
    segment.SegmentedPropertyCategoryCodeSequence = [codes.item(codes.SPATIAL_CONCEPT)]
    segment.SegmentedPropertyTypeCodeSequence = [codes.item(codes.CLASS_ACTIVATION)]
    segment.RecommendedDisplayCIELabValue = _COLOUR
    segment.TrackingID = f"{shown.head}/{shown.label}"
    kind = f"tracking|{shown.head}|{shown.label}"
    segment.TrackingUID = instance_uid(stamp, [source], model.digest, kind)
    return segment


def _algorithm(model: ModelIdentity) -> Dataset:
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [codes.item(codes.ALGORITHM_FAMILY)]
    algorithm.AlgorithmName = long_string(model.name)
    algorithm.AlgorithmVersion = long_string(model.version)
    algorithm.AlgorithmParameters = f"weights sha256:{model.digest}, preprocessing {model.preprocessing}"
    algorithm.AlgorithmSource = long_string(model.manufacturer)
    return algorithm


def _set_frame(dataset: Dataset, instance: ReadInstance, frame: NDArray[np.uint8], stamp: Stamp) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frame.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = 1
    model = instance.findings.model
    dimensions = instance_uid(stamp, [str(dataset.SOPInstanceUID)], model.digest, "dimensions")
    _set_dimensions(dataset, dimensions)
    shared, own = Dataset(), Dataset()
    shared.SegmentIdentificationSequence = [_item_of(ReferencedSegmentNumber=1)]
    if measures := _measures(instance.header):
        shared.PixelMeasuresSequence = [measures]
    own.DerivationImageSequence = [_derivation(instance.header)]
    own.FrameContentSequence = [_item_of(DimensionIndexValues=[1])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [own]
    # PS3.5 8.1.1: an odd number of bytes is padded
    dataset.PixelData = frame.tobytes() + b"\0" * (frame.size % 2)
    dataset["PixelData"].VR = "OB"


def _measures(header: Dataset) -> Dataset | None:
    """Item of Pixel Measures Sequence (PS3.3 C.7.6.16.2.1); None where the source tells no distance.

    Some viewers end on a segmentation without. There is no Slice Thickness: a projection has none, although
    highdicom's own class for segmentations asks for it.
    """
    for keyword in _SPACINGS:
        if distances := spacing(header, keyword):
            return _item_of(PixelSpacing=[DSfloat(distance, auto_format=True) for distance in distances])
    return None


def _set_dimensions(dataset: Dataset, uid: UID) -> None:
    """One dimension: the segment (PS3.3 C.7.6.17)."""
    index = Dataset()
    index.DimensionOrganizationUID = uid
    index.DimensionIndexPointer = _tag("ReferencedSegmentNumber")
    index.FunctionalGroupPointer = _tag("SegmentIdentificationSequence")
    index.DimensionDescriptionLabel = "Segment"
    dataset.DimensionOrganizationSequence = [_item_of(DimensionOrganizationUID=uid)]
    dataset.DimensionIndexSequence = [index]


def _derivation(header: Dataset) -> Dataset:
    source = image_reference(header)
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    source.SpatialLocationsPreserved = "YES"
    return _item_of(
        DerivationCodeSequence=[codes.item(codes.SEGMENTATION)],
        SourceImageSequence=[source],
    )


def _item_of(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of the dictionary")
    return Tag(tag)
