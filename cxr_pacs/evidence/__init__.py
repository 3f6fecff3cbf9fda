"""Findings become DICOM objects: a Structured Report and a heatmap for the study of the source image."""

from __future__ import annotations

from cxr_pacs.evidence.conformance import check
from cxr_pacs.evidence.identity import Stamp, is_own_output
from cxr_pacs.evidence.picture import HeatmapPicture
from cxr_pacs.evidence.secondary_capture import heatmap
from cxr_pacs.evidence.source import ReadInstance
from cxr_pacs.evidence.structured_report import report

__all__ = ["HeatmapPicture", "ReadInstance", "Stamp", "check", "heatmap", "is_own_output", "report"]
