"""Array in, findings and saliency out. No DICOM, no network; `load_engine` is what imports a framework."""

from __future__ import annotations

from cxr_pacs.inference.bundle import Bundle, bundled, load_bundle
from cxr_pacs.inference.engine import Analysis, Engine, load_engine
from cxr_pacs.inference.findings import ClassScore, Findings, ModelIdentity, Saliency

__all__ = [
    "Analysis",
    "Bundle",
    "ClassScore",
    "Engine",
    "Findings",
    "ModelIdentity",
    "Saliency",
    "bundled",
    "load_bundle",
    "load_engine",
]
