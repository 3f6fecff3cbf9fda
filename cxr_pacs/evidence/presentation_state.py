"""Outline and words over the original: a Grayscale Softcopy Presentation State (PS3.3 A.33.1).

The radiograph stays as it is in the archive; the outline runs where the activation map falls to half of its
maximum, and the words say what it is. None of them identifies anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import number, required_uid
from cxr_pacs.evidence.identity import Stamp, instance_uid, series_uid
from cxr_pacs.evidence.picture import HeatmapPicture
from cxr_pacs.evidence.provenance import (
    DISCLAIMER,
    Output,
    common_modules,
    long_string,
    settle_character_set,
)
from cxr_pacs.evidence.secondary_capture import instance_number
from cxr_pacs.evidence.softcopy import describe_display, is_displayable
from cxr_pacs.evidence.source import ReadInstance, image_reference
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassScore, ModelIdentity

__all__ = ["SERIES_NUMBER", "outlines", "presentation_state"]

SERIES_NUMBER: Final = 9004
SERIES_DESCRIPTION: Final = f"AI CXR outline - {DISCLAIMER}"

# a value of FL has at most 65534 bytes (PS3.5 7.1.2), and not every viewer is quick with thousands of points
_MOST_POINTS: Final = 4096
_LAYER: Final = "AI"
# amber, as PCS values (PS3.3 C.10.7.1.1)
_COLOUR: Final = [53083, 36237, 50886]
# shares of the displayed width and height: a strip at its lower edge, below the lungs
_WORDS_FROM: Final = [0.02, 0.86]
_WORDS_TO: Final = [0.98, 0.99]


def presentation_state(instance: ReadInstance, picture: HeatmapPicture, stamp: Stamp) -> FileDataset | None:
    """Presentation state that draws the map's outline and a text over the source image.

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
        The text alone where nothing argues for the class. None for an image for processing: its display
        cannot be said in a presentation state.

    Raises
    ------
    EvidenceError
        The source cannot be referenced, the class has no code, or the map is not a map of this source.

    References
    ----------
    PS3.3 C.11.9 to C.11.11 (Presentation State Identification, Mask, Relationship), C.10.4 (Displayed Area),
    C.10.5 (Graphic Annotation), C.10.7 (Graphic Layer); PS3.4 N.2.
    """
    header, model, shown = instance.header, instance.findings.model, picture.shown
    if not is_displayable(header):
        return None
    shape = (number(header, "Rows"), number(header, "Columns"))
    if picture.saliency.shape != shape:
        raise EvidenceError(
            f"an outline needs a map of its source's {shape} pixels, not {picture.saliency.shape}"
        )
    drawn = outlines(picture.saliency)
    dataset = common_modules(header, _output(instance, shown, stamp), model, stamp)
    # a presentation state has a time of creation in place of one of content
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = (
        dataset.ContentDate,
        dataset.ContentTime,
    )
    del dataset.ContentDate, dataset.ContentTime
    dataset.ContentLabel = "AI_OUTLINE"
    name = codes.coded_class(model, shown.label).name
    dataset.ContentDescription = long_string(f"{name} - {DISCLAIMER}")
    dataset.ContentCreatorName = ""
    dataset.BodyPartExamined = "CHEST"  # unpaired, so that there is no laterality (PS3.3 C.7.3.1)
    series = Dataset()
    series.SeriesInstanceUID = required_uid(header, "SeriesInstanceUID")
    series.ReferencedImageSequence = [image_reference(header)]
    dataset.ReferencedSeriesSequence = [series]
    describe_display(dataset, header)
    dataset.DisplayedAreaSelectionSequence = [_whole_area(header, picture)]
    outline = words.OUTLINE if drawn else words.NO_OUTLINE
    said = _words(shown, model, outline, stamp.language)
    dataset.GraphicAnnotationSequence = [_annotation(header, drawn, said)]
    dataset.GraphicLayerSequence = [_layer()]
    settle_character_set(dataset, header)
    return dataset


def outlines(saliency: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Trace where the map falls to half of its maximum.

    Parameters
    ----------
    saliency : float32 ndarray, shape (rows, columns)
        In [0, 1].

    Returns
    -------
    tuple of float32 ndarray, shape (points, 2)
        Closed lines of column and row, first point repeated, with the origin at the upper left corner of the
        upper left pixel (PS3.3 C.10.5.1.2); from top to bottom. Empty where the map is dark.

    Raises
    ------
    EvidenceError
        The map holds values that are not finite.
    """
    top = float(saliency.max(initial=0.0))
    if not np.isfinite(saliency).all():
        raise EvidenceError("an outline cannot be drawn around values that are not finite")
    if top <= 0:
        return ()
    above = (saliency >= top / 2).astype(np.uint8)
    found, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    lines = (_simplified(np.asarray(line, dtype=np.int32)) for line in found)
    closed = [np.concatenate([line, line[:1]]).astype(np.float32) + 0.5 for line in lines if len(line) > 2]
    return tuple(sorted(closed, key=lambda line: (*line.min(axis=0)[::-1].tolist(), len(line))))


def _simplified(line: NDArray[np.int32]) -> NDArray[np.int32]:
    """Points that tell the course of `line` to less than a pixel, or as near as an element can hold."""
    tolerance = 0.75
    points = np.asarray(cv2.approxPolyDP(line, tolerance, closed=True), dtype=np.int32)
    while len(points) >= _MOST_POINTS:
        tolerance *= 2
        points = np.asarray(cv2.approxPolyDP(line, tolerance, closed=True), dtype=np.int32)
    return points[:, 0]


def _output(instance: ReadInstance, shown: ClassScore, stamp: Stamp) -> Output:
    header, model = instance.header, instance.findings.model
    source, study = (required_uid(header, keyword) for keyword in ("SOPInstanceUID", "StudyInstanceUID"))
    return Output(
        sop_class_uid=GrayscaleSoftcopyPresentationStateStorage,
        sop_instance_uid=instance_uid(stamp, [source], model.digest, f"outline|{shown.head}|{shown.label}"),
        series_instance_uid=series_uid(stamp, study, model.digest, "outline"),
        modality="PR",
        series_description=SERIES_DESCRIPTION,
        series_number=SERIES_NUMBER,
        instance_number=instance_number(header),
    )


def _words(shown: ClassScore, model: ModelIdentity, outline: words.Text, language: Language) -> str:
    verdict = words.REACHED if shown.passed else words.NOT_REACHED
    lines = (
        words.DISCLAIMER.say(language),
        words.OUTLINED.say(
            language,
            name=words.capitalised(codes.class_name(model, shown.label, language)),
            certainty=100 * shown.score,
            threshold=100 * shown.threshold,
            verdict=verdict.say(language),
        ),
        outline.say(language),
        f"{model.name} {model.version}. {words.translated(model.intended_use, language)}",
    )
    return "\r\n".join(lines)[:1024]


def _annotation(header: Dataset, drawn: tuple[NDArray[np.float32], ...], said: str) -> Dataset:
    annotation = Dataset()
    annotation.ReferencedImageSequence = [image_reference(header)]
    annotation.GraphicLayer = _LAYER
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "DISPLAY"
    text.UnformattedTextValue = said
    text.BoundingBoxTopLeftHandCorner = _WORDS_FROM
    text.BoundingBoxBottomRightHandCorner = _WORDS_TO
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    annotation.TextObjectSequence = [text]
    if drawn:
        annotation.GraphicObjectSequence = list(_lines(drawn))
    return annotation


def _lines(drawn: tuple[NDArray[np.float32], ...]) -> Iterator[Dataset]:
    for points in drawn:
        line = Dataset()
        line.GraphicAnnotationUnits = "PIXEL"
        line.GraphicDimensions = 2
        line.NumberOfGraphicPoints = len(points)
        line.GraphicData = points.reshape(-1).tolist()
        line.GraphicType = "POLYLINE"
        line.GraphicFilled = "N"
        yield line


def _layer() -> Dataset:
    layer = Dataset()
    layer.GraphicLayer = _LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = _COLOUR
    layer.GraphicLayerDescription = DISCLAIMER
    return layer


def _whole_area(header: Dataset, picture: HeatmapPicture) -> Dataset:
    rows, columns = picture.saliency.shape
    area = Dataset()
    area.ReferencedImageSequence = [image_reference(header)]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [columns, rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    # vertical by horizontal; a ratio and no spacing, so that nobody measures with what is only a display's
    aspect = Fraction(picture.aspect).limit_denominator(10_000)
    area.PresentationPixelAspectRatio = [max(1, aspect.numerator), aspect.denominator]
    return area
