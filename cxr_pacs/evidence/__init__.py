"""Findings become DICOM objects for the study of the source image.

A Structured Report and a heatmap; and where a site wants them a segmentation, a presentation state, a key
object selection and the report in plain words.
"""

from __future__ import annotations

from cxr_pacs.evidence.conformance import check
from cxr_pacs.evidence.identity import Stamp, is_own_output
from cxr_pacs.evidence.key_objects import key_objects
from cxr_pacs.evidence.picture import HeatmapPicture
from cxr_pacs.evidence.plain_report import plain_report
from cxr_pacs.evidence.presentation_state import presentation_state
from cxr_pacs.evidence.research_picture import research_picture
from cxr_pacs.evidence.secondary_capture import HeatmapStyle, heatmap, heatmap_without_text
from cxr_pacs.evidence.segmentation import segmentation
from cxr_pacs.evidence.source import ReadInstance, ReportedStudy, request_of
from cxr_pacs.evidence.structured_report import report

__all__ = [
    "HeatmapPicture",
    "HeatmapStyle",
    "ReadInstance",
    "ReportedStudy",
    "Stamp",
    "check",
    "heatmap",
    "heatmap_without_text",
    "is_own_output",
    "key_objects",
    "plain_report",
    "presentation_state",
    "report",
    "request_of",
    "research_picture",
    "segmentation",
]
