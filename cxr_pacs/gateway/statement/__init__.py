"""The DICOM conformance statement of this installation, from its settings and from the code's own tables."""

from __future__ import annotations

from cxr_pacs.gateway.statement.document import conformance_statement

__all__ = ["conformance_statement"]
