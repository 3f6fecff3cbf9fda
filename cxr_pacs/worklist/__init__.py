"""Worklist items: scheduled procedure steps, where they are kept, and which of them a query asks for.

No network and no radiographs: the services are in `dimse`, what a study has to do with
its order in `gateway`.
"""

from __future__ import annotations

from cxr_pacs.worklist.answers import encoded_answer
from cxr_pacs.worklist.items import FINAL_STATES, StepState, WorklistItem
from cxr_pacs.worklist.query import Query
from cxr_pacs.worklist.store import Put, StoredItem, Worklist, open_worklist

__all__ = [
    "FINAL_STATES",
    "Put",
    "Query",
    "StepState",
    "StoredItem",
    "Worklist",
    "WorklistItem",
    "encoded_answer",
    "open_worklist",
]
