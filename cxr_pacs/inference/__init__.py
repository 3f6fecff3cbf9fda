"""Picture in, findings and saliency out. No DICOM, no network; `load_engine` is what imports a framework."""

from __future__ import annotations

from cxr_pacs.inference.bundle import Bundle, bundled, load_bundle
from cxr_pacs.inference.claims import Patient, withhold
from cxr_pacs.inference.engine import Analysis, Engine, GuidedEngine, load_engine
from cxr_pacs.inference.findings import (
    Box,
    ClassCode,
    ClassScore,
    Findings,
    ModelIdentity,
    Saliency,
    Withheld,
)
from cxr_pacs.inference.manifest import Claim

__all__ = [
    "Analysis",
    "Box",
    "Bundle",
    "Claim",
    "ClassCode",
    "ClassScore",
    "Engine",
    "Findings",
    "GuidedEngine",
    "ModelIdentity",
    "Patient",
    "Saliency",
    "Withheld",
    "bundled",
    "load_bundle",
    "load_engine",
    "withhold",
]
