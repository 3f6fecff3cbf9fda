"""The DICOM network. It knows no radiographs and no models."""

from __future__ import annotations

from cxr_pacs.dimse.associations import Listener, LocalEntity, Peer, RefusedContext, Service
from cxr_pacs.dimse.echo import echo, verification_scp
from cxr_pacs.dimse.storage import ReceivedInstance, storage_scp, store

__all__ = [
    "Listener",
    "LocalEntity",
    "Peer",
    "ReceivedInstance",
    "RefusedContext",
    "Service",
    "echo",
    "storage_scp",
    "store",
    "verification_scp",
]
