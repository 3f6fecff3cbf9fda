"""The DICOM network. It knows no radiographs and no models."""

from __future__ import annotations

from cxr_pacs.dimse.associations import Listener, LocalEntity, Peer, RefusedContext, Service
from cxr_pacs.dimse.availability import Availability, notify_availability
from cxr_pacs.dimse.commitment import (
    CommitmentReport,
    CommitmentRequest,
    ObjectReference,
    commitment_service,
    report_commitment,
    report_on,
    requested_commitment,
)
from cxr_pacs.dimse.echo import echo, verification_scp
from cxr_pacs.dimse.mpps import Steps, create_step, performed_step_service, set_step
from cxr_pacs.dimse.query import Query, identifier, querying, study_date_and_time, value, values
from cxr_pacs.dimse.retrieve import SubOperations, get, move
from cxr_pacs.dimse.storage import ReceivedInstance, storage_scp, store, store_as_received, store_dataset
from cxr_pacs.dimse.worklist import (
    AskedWorklist,
    FoundWorklist,
    WorklistAnswers,
    find_worklist,
    worklist_scp,
)

__all__ = [
    "AskedWorklist",
    "Availability",
    "CommitmentReport",
    "CommitmentRequest",
    "FoundWorklist",
    "Listener",
    "LocalEntity",
    "ObjectReference",
    "Peer",
    "Query",
    "ReceivedInstance",
    "RefusedContext",
    "Service",
    "Steps",
    "SubOperations",
    "WorklistAnswers",
    "commitment_service",
    "create_step",
    "echo",
    "find_worklist",
    "get",
    "identifier",
    "move",
    "notify_availability",
    "performed_step_service",
    "querying",
    "report_commitment",
    "report_on",
    "requested_commitment",
    "set_step",
    "storage_scp",
    "store",
    "store_as_received",
    "store_dataset",
    "study_date_and_time",
    "value",
    "values",
    "verification_scp",
    "worklist_scp",
]
