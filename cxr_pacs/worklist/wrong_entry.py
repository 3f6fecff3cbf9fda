"""Performed procedure steps that ended since the modality had selected the wrong worklist entry.

Patient and order of such a step, and of the images that came of it, are probably those of someone else.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.filereader import read_dataset

from cxr_pacs.worklist.performed import StepProgress, step_uids_of_study
from cxr_pacs.worklist.tables import performed_step

__all__ = ["INCORRECT_ENTRY", "steps_of_wrong_entry"]

INCORRECT_ENTRY: Final = ("110514", "DCM")
"""Code of "Incorrect worklist entry selected" (PS3.16 CID 9300)."""


def steps_of_wrong_entry(connection: sa.Connection, study_instance_uid: str) -> frozenset[str]:
    """SOP Instance UIDs of the steps of a study that were discontinued for this reason."""
    query = sa.select(performed_step).where(
        performed_step.c.state == StepProgress.DISCONTINUED,
        performed_step.c.sop_instance_uid.in_(step_uids_of_study(study_instance_uid)),
    )
    return frozenset(
        row.sop_instance_uid for row in connection.execute(query) if _is_of_wrong_entry(row.dataset)
    )


def _is_of_wrong_entry(encoded: bytes) -> bool:
    step: Dataset = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    reasons = step.get("PerformedProcedureStepDiscontinuationReasonCodeSequence") or ()
    return INCORRECT_ENTRY in {
        (str(one.get("CodeValue", "")), str(one.get("CodingSchemeDesignator", ""))) for one in reasons
    }
