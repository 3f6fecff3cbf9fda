"""The Image Library of a report (PS3.16 TID 1600 to 1603): the geometry of the images it speaks of.

The template asks for attributes that many radiographs lack: the library is made only where every image has
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cxr_pacs.evidence.attributes import number, single, values
from cxr_pacs.evidence.source import image_reference

__all__ = ["image_library", "patient_orientation", "spacing"]

_ORIENTATION: Final = re.compile(r"[APLRHF]{1,3}")
_MODALITIES: Final = {"CR": codes.DCM.ComputedRadiography, "DX": codes.DCM.DigitalRadiography}
_PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")
_CONTEXT: Final = hd.sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS


def patient_orientation(header: Dataset) -> list[str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1) as two values; empty when it is unknown or not understood."""
    orientation = values(header, "PatientOrientation")
    known = len(orientation) == 2 and all(_ORIENTATION.fullmatch(axis) for axis in orientation)
    return orientation if known else []


def image_library(headers: Sequence[Dataset]) -> hd.sr.ContainerContentItem | None:
    """Image Library of the images with `headers`; None when one of them lacks what the template asks for."""
    entries = [entry for header in headers if (entry := _entry(header)) is not None]
    if len(entries) < len(headers):
        return None
    group = _container(codes.DCM.ImageLibraryGroup, entries)
    return _container(codes.DCM.ImageLibrary, [group])


def _entry(header: Dataset) -> hd.sr.ImageContentItem | None:
    """Library entry of one image (TID 1601), with the descriptors of TID 1602 and TID 1603."""
    modality = _MODALITIES.get(single(header, "Modality"))
    rows, columns = number(header, "Rows"), number(header, "Columns")
    orientation, distances = patient_orientation(header), spacing(header, "ImagerPixelSpacing")
    if not (modality and rows and columns and orientation and distances):
        return None
    source = image_reference(header)
    entry = hd.sr.ImageContentItem(
        codes.SCT.Source,
        source.ReferencedSOPClassUID,
        source.ReferencedSOPInstanceUID,
        relationship_type=_CONTAINS,
    )
    entry.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.CodeContentItem(codes.DCM.Modality, modality, _CONTEXT),
            hd.sr.NumContentItem(codes.DCM.PixelDataRows, rows, _PIXELS, relationship_type=_CONTEXT),
            hd.sr.NumContentItem(codes.DCM.PixelDataColumns, columns, _PIXELS, relationship_type=_CONTEXT),
            hd.sr.TextContentItem(codes.DCM.PatientOrientationRow, orientation[0], _CONTEXT),
            hd.sr.TextContentItem(codes.DCM.PatientOrientationColumn, orientation[1], _CONTEXT),
            _millimetres(codes.DCM.HorizontalPixelSpacing, distances[1]),
            _millimetres(codes.DCM.VerticalPixelSpacing, distances[0]),
        ]
    )
    return entry


def spacing(header: Dataset, keyword: str) -> list[float]:
    """Row then column distance in `keyword`; empty when it is missing or not two positive numbers."""
    try:
        distances = [float(value) for value in values(header, keyword)]
    except ValueError:
        return []
    return distances if len(distances) == 2 and all(0 < value < float("inf") for value in distances) else []


def _millimetres(name: Code, value: float) -> hd.sr.NumContentItem:
    return hd.sr.NumContentItem(name, value, codes.UCUM.Millimeter, relationship_type=_CONTEXT)


def _container(name: Code, members: Sequence[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    container = hd.sr.ContainerContentItem(name, relationship_type=_CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(members)
    return container
