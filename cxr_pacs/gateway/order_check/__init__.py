"""An arriving image and its order: whether it is of the patient and the study that the worklist expects.

::

    asking       which worklist is asked, and for what
    comparison   image against order, attribute by attribute
    checks       what follows: a hold, a wait, or nothing; pinned for the report
    wrong_entry  what a modality says that it selected by mistake is held, too
    record       what the ledger knows of it
    release      an administrator says that a held image is right as it is
"""

from __future__ import annotations

from cxr_pacs.gateway.order_check.checks import Checked, OrderChecks
from cxr_pacs.gateway.order_check.record import order_files, order_story, record_check
from cxr_pacs.gateway.order_check.release import releasable, release
from cxr_pacs.gateway.order_check.wrong_entry import hold_images_of_step

__all__ = [
    "Checked",
    "OrderChecks",
    "hold_images_of_step",
    "order_files",
    "order_story",
    "record_check",
    "releasable",
    "release",
]
