"""A DICOM dataset in, a chest radiograph as an array out. No network, no model."""

from __future__ import annotations

from cxr_pacs.radiograph.deflated import MAXIMUM_INFLATED, check_inflation
from cxr_pacs.radiograph.geometry import Geometry, valid_part
from cxr_pacs.radiograph.header import HeaderFacts, ImageDescription, read_header
from cxr_pacs.radiograph.pictures import decode_picture, is_picture, picture_p_values
from cxr_pacs.radiograph.rendering import Radiograph, read_radiograph
from cxr_pacs.radiograph.selection import (
    Decision,
    Outcome,
    SelectionPolicy,
    decide,
    frontal_view,
    names_another_part,
)
from cxr_pacs.radiograph.transfer_syntaxes import decodable_transfer_syntaxes

__all__ = [
    "MAXIMUM_INFLATED",
    "Decision",
    "Geometry",
    "HeaderFacts",
    "ImageDescription",
    "Outcome",
    "Radiograph",
    "SelectionPolicy",
    "check_inflation",
    "decide",
    "decodable_transfer_syntaxes",
    "decode_picture",
    "frontal_view",
    "is_picture",
    "names_another_part",
    "picture_p_values",
    "read_header",
    "read_radiograph",
    "valid_part",
]
