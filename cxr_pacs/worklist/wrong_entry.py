"""Performed procedure steps that ended since the modality had selected the wrong worklist entry.

Patient and order of such a step, and of the images that came of it, are probably those of someone else.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.filereader import read_dataset

from cxr_pacs.worklist.tables import performed_instance, performed_step, performed_study

__all__ = ["INCORRECT_ENTRY", "images_of_wrong_entry", "is_of_wrong_entry", "steps_of_wrong_entry"]

INCORRECT_ENTRY: Final = ("110514", "DCM")
"""Code of "Incorrect worklist entry selected" (PS3.16 CID 9300)."""

_DISCONTINUED: Final = performed_step.c.state == "DISCONTINUED"


def steps_of_wrong_entry(connection: sa.Connection, study_instance_uid: str) -> frozenset[str]:
    """SOP Instance UIDs of the steps of a study that were discontinued for this reason."""
    query = (
        sa.select(performed_step)
        .join(performed_study, performed_study.c.step_id == performed_step.c.id)
        .where(_DISCONTINUED, performed_study.c.study_instance_uid == study_instance_uid)
    )
    return frozenset(
        row.sop_instance_uid for row in connection.execute(query) if is_of_wrong_entry(row.dataset)
    )


def images_of_wrong_entry(
    connection: sa.Connection, sop_instance_uids: sa.Select[Any]
) -> Mapping[str, float]:
    """Give those of the instances that such a step names, and when it ended, in seconds since the epoch."""
    query = (
        sa.select(
            performed_instance.c.sop_instance_uid, performed_step.c.changed_at, performed_step.c.dataset
        )
        .join(performed_step, performed_step.c.id == performed_instance.c.step_id)
        .where(_DISCONTINUED, performed_instance.c.sop_instance_uid.in_(sop_instance_uids))
        .order_by(performed_step.c.changed_at)
    )
    return {
        row.sop_instance_uid: row.changed_at
        for row in connection.execute(query)
        if is_of_wrong_entry(row.dataset)
    }


def is_of_wrong_entry(encoded: bytes) -> bool:
    """Whether a discontinued step, as its table keeps it, has this reason."""
    step: Dataset = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    reasons = step.get("PerformedProcedureStepDiscontinuationReasonCodeSequence") or ()
    return INCORRECT_ENTRY in {
        (str(one.get("CodeValue", "")), str(one.get("CodingSchemeDesignator", ""))) for one in reasons
    }
