"""The heatmap as an RGB Secondary Capture (PS3.3 A.8.1): for people, beside the report for machines.

Usually its pixels are resampled, so that it carries no spacing: nobody can measure on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import number, required_uid, single, values
from cxr_pacs.evidence.encoding import Encoding, encode
from cxr_pacs.evidence.identity import Stamp, instance_uid, series_uid
from cxr_pacs.evidence.image_library import patient_orientation, spacing
from cxr_pacs.evidence.picture import (
    Caption,
    HeatmapPicture,
    paint,
    paint_at_source_size,
    render,
    render_at_source_size,
)
from cxr_pacs.evidence.provenance import DISCLAIMER, Output, common_modules, settle_character_set
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore, Findings

__all__ = [
    "SERIES_NUMBER",
    "HeatmapStyle",
    "caption",
    "describe_compression",
    "heatmap",
    "heatmap_uid",
    "heatmap_without_text",
    "instance_number",
]

SERIES_NUMBER: Final = 9002
SERIES_DESCRIPTION: Final = "AI CXR heatmap - not for primary diagnosis"

_WITHOUT_TEXT_FROM: Final = 10_000
# what tells the distance of pixels, best first, and where a Secondary Capture says it
_SPACINGS: Final = MappingProxyType(
    {
        "PixelSpacing": "PixelSpacing",
        "ImagerPixelSpacing": "PixelSpacing",
        "NominalScannedPixelSpacing": "NominalScannedPixelSpacing",
        "PixelAspectRatio": "PixelAspectRatio",
    }
)
_LOSSY_SYNTAXES: Final = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
# DS and CS (PS3.5 6.2)
_LOSSY_DETAILS: Final = MappingProxyType(
    {
        "LossyImageCompressionRatio": re.compile(r"(?=.{1,16}$)[0-9]+(\.[0-9]+)?"),
        "LossyImageCompressionMethod": re.compile(r"[A-Z0-9_ ]{1,16}"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatmapStyle:
    """How large a heatmap is, and how its pixels are encoded.

    Attributes
    ----------
    size : str
        ``1024``: no side is longer, and there is no spacing. ``source``: pixel by pixel as the source, with
        its spacing.
    encoding : str
        Lossless in any case: ``native`` is not compressed.
    """

    size: Literal["1024", "source"] = "1024"
    encoding: Encoding = "native"


USUAL: Final = HeatmapStyle()


def heatmap(
    instance: ReadInstance, picture: HeatmapPicture, stamp: Stamp, style: HeatmapStyle = USUAL
) -> FileDataset:
    """Secondary Capture of the radiograph with the map of one class over it, and words below.

    Parameters
    ----------
    instance : ReadInstance
        The source image; it is not changed.
    picture : HeatmapPicture
        Its pixels as displayed, and the map.
    stamp : Stamp
        Pins UIDs and times: the same arguments give the same bytes.
    style : HeatmapStyle

    Raises
    ------
    EvidenceError
        The source cannot be referenced, the class is not among its findings or has no code, or the picture is
        unsound, or not that of its source where the source's size is wanted.

    References
    ----------
    PS3.3 C.8.6.1 and C.8.6.2 (SC Equipment, SC Image), C.7.6.1 (General Image), C.7.6.3 (Image Pixel), 10.7
    (spacing); PS3.16 CID 7202, CID 7180.
    """
    findings, shown = instance.findings, picture.shown
    uid = heatmap_uid(instance.header, findings, shown, stamp)
    dataset = _capture(instance, shown, uid, stamp, style)
    said = caption(shown, findings, stamp.language)
    draw = render if style.size == "1024" else render_at_source_size
    _set_picture(dataset, instance.header, picture, draw(picture, said), style)
    return dataset


def heatmap_without_text(
    instance: ReadInstance, picture: HeatmapPicture, stamp: Stamp, style: HeatmapStyle = USUAL
) -> FileDataset:
    """Second Secondary Capture in the series of `heatmap`: the same picture without a word in it.

    What it is stands in its header alone. Parameters and errors are those of `heatmap`.
    """
    shown = picture.shown
    kind = f"heatmap-without-text|{shown.head}|{shown.label}"
    source = required_uid(instance.header, "SOPInstanceUID")
    uid = instance_uid(stamp, [source], instance.findings.model.digest, kind)
    dataset = _capture(instance, shown, uid, stamp, style)
    # behind the heatmaps with text, in the same order
    dataset.InstanceNumber = min(int(dataset.InstanceNumber) + _WITHOUT_TEXT_FROM, (1 << 31) - 1)
    draw = paint if style.size == "1024" else paint_at_source_size
    _set_picture(dataset, instance.header, picture, draw(picture), style)
    return dataset


def heatmap_uid(header: Dataset, findings: Findings, shown: ClassScore, stamp: Stamp) -> UID:
    """SOP Instance UID of the heatmap of class `shown` made from the image of `header`."""
    source = required_uid(header, "SOPInstanceUID")
    return instance_uid(stamp, [source], findings.model.digest, f"heatmap|{shown.head}|{shown.label}")


def _capture(
    instance: ReadInstance, shown: ClassScore, uid: UID, stamp: Stamp, style: HeatmapStyle
) -> FileDataset:
    """Everything but the picture."""
    header, model = instance.header, instance.findings.model
    if shown not in instance.findings.scores:
        raise EvidenceError(f"the findings hold no score {shown.head}/{shown.label} as the heatmap shows it")
    study = required_uid(header, "StudyInstanceUID")
    dataset = common_modules(
        header,
        Output(
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=uid,
            series_instance_uid=series_uid(stamp, study, model.digest, "heatmap"),
            modality="OT",
            series_description=SERIES_DESCRIPTION,
            series_number=SERIES_NUMBER,
            instance_number=instance_number(header),
        ),
        model,
        stamp,
    )
    _describe_capture(dataset)
    _describe_derivation(dataset, instance, shown, style)
    settle_character_set(dataset, header)
    return dataset


def instance_number(header: Dataset) -> int:
    """Return that of the source, or 1 where it is not a positive IS value (PS3.5 6.2)."""
    text = single(header, "InstanceNumber")
    number = int(text) if text.isdecimal() else 0
    return number if 0 < number < 1 << 31 else 1


def _describe_capture(dataset: Dataset) -> None:
    dataset.ConversionType = "WSD"
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.BurnedInAnnotation = "NO"  # the words in the picture identify nobody (PS3.3 C.7.6.1)
    dataset.RecognizableVisualFeatures = "NO"
    dataset.BodyPartExamined = "CHEST"


def _describe_derivation(
    dataset: Dataset, instance: ReadInstance, shown: ClassScore, style: HeatmapStyle
) -> None:
    header, model = instance.header, instance.findings.model
    way = "resampled" if style.size == "1024" else "pixel by pixel"
    source = image_reference(header)
    source.PurposeOfReferenceCodeSequence = [codes.item(codes.SOURCE_IMAGE)]
    dataset.SourceImageSequence = [source]
    dataset.DerivationCodeSequence = [codes.item(codes.CLASS_ACTIVATION)]
    dataset.DerivationDescription = (
        f"Class activation map of class {shown.label} of head {shown.head}, from the last feature map of "
        f"{model.name} {model.version}, painted over the displayed radiograph, {way}. {DISCLAIMER}."
    )[:1024]
    dataset.PatientOrientation = patient_orientation(header)
    describe_compression(dataset, header)


def describe_compression(dataset: Dataset, header: Dataset) -> None:
    """Say that the source was lossy, where it was, and how far as the source says so."""
    if not _was_lossy(header):
        dataset.LossyImageCompression = "00"
        return
    dataset.LossyImageCompression = "01"
    for keyword, form in _LOSSY_DETAILS.items():
        steps = values(header, keyword)
        if steps and all(form.fullmatch(step) for step in steps):
            setattr(dataset, keyword, steps)


def _was_lossy(header: Dataset) -> bool:
    """Whether the source ever went through lossy compression; that stays so (PS3.3 C.7.6.1.1.5)."""
    meta = getattr(header, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    return single(header, "LossyImageCompression") == "01" or syntax in _LOSSY_SYNTAXES


def _set_picture(
    dataset: FileDataset,
    header: Dataset,
    picture: HeatmapPicture,
    pixels: NDArray[np.uint8],
    style: HeatmapStyle,
) -> None:
    if style.size == "source":
        _keep_geometry(dataset, header, picture)
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    # PS3.5 8.1.1: an odd number of bytes is padded
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    dataset["PixelData"].VR = "OB"
    encode(dataset, pixels, style.encoding)


def _keep_geometry(dataset: Dataset, header: Dataset, picture: HeatmapPicture) -> None:
    """Say that nothing was moved, and how far apart the pixels are, as the source says it (PS3.3 10.7)."""
    shape = (number(header, "Rows"), number(header, "Columns"))
    if picture.pixels.shape != shape:
        raise EvidenceError(
            f"a heatmap of its source's size needs its {shape} pixels, not {picture.pixels.shape}"
        )
    dataset.SourceImageSequence[0].SpatialLocationsPreserved = "YES"
    for keyword, target in _SPACINGS.items():
        if spacing(header, keyword):
            setattr(dataset, target, values(header, keyword))
            return


def caption(shown: ClassScore, findings: Findings, language: Language) -> Caption:
    """Say below a heatmap what it shows, and by which model."""
    model = findings.model
    verdict = words.REACHED if shown.passed else words.NOT_REACHED
    name = words.capitalised(codes.class_name(model, shown.label, language))
    question = _question(shown, findings, language)
    return Caption(
        title=words.TITLE.say(language, name=name, certainty=100 * shown.score),
        warning=words.DISCLAIMER.say(language),
        lines=(
            words.HEAD_SHOWN.say(language, head=shown.head, question=question),
            words.THRESHOLD_SHOWN.say(
                language, threshold=100 * shown.threshold, verdict=verdict.say(language)
            ),
            f"{model.name} {model.version}. {words.translated(model.intended_use, language)}",
        ),
        colours=words.COLOURS.say(language),
        dark=words.DARK.say(language),
    )


def _question(shown: ClassScore, findings: Findings, language: Language) -> str:
    """Say what the head was asked; where classes are withheld, which ones it tells."""
    model, told = findings.model, [score.label for score in findings.head(shown.head)]
    if len(told) == len(findings.labels(shown.head)):
        return codes.question(model, told, language)
    return words.TOLD_ONLY.say(language, names=codes.class_names(model, told, words.OR, language))
