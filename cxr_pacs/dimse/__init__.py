"""The DICOM network. It knows no radiographs and no models."""

from __future__ import annotations

from cxr_pacs.dimse.associations import Listener, LocalEntity, Peer, RefusedContext, Service
from cxr_pacs.dimse.echo import echo, verification_scp
from cxr_pacs.dimse.query import Query, identifier, querying, study_date_and_time, value, values
from cxr_pacs.dimse.retrieve import SubOperations, get, move
from cxr_pacs.dimse.storage import ReceivedInstance, storage_scp, store, store_as_received

__all__ = [
    "Listener",
    "LocalEntity",
    "Peer",
    "Query",
    "ReceivedInstance",
    "RefusedContext",
    "Service",
    "SubOperations",
    "echo",
    "get",
    "identifier",
    "move",
    "querying",
    "storage_scp",
    "store",
    "store_as_received",
    "study_date_and_time",
    "value",
    "values",
    "verification_scp",
]
