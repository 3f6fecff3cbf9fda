"""DICOM over HTTP. It knows no radiographs and no models."""

from __future__ import annotations

from cxr_pacs.dicomweb.credentials import read_credentials
from cxr_pacs.dicomweb.storing import WebService

__all__ = ["WebService", "read_credentials"]
