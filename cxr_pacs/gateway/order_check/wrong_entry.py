"""Images of a step for which the wrong worklist entry had been selected: none is used under its patient.

IHE RAD TF-2 4.7 (RAD-7): such a step is discontinued with the code 110514, and may be of another patient.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from cxr_pacs.gateway.order_check.checks import RUNG
from cxr_pacs.gateway.rerun import lock_study
from cxr_pacs.gateway.tables import instance, order_release
from cxr_pacs.worklist.tables import performed_instance
from cxr_pacs.worklist.wrong_entry import images_of_wrong_entry

__all__ = ["hold_images_of_step", "hold_images_of_study"]

logger = logging.getLogger(__name__)

_REASON = (
    "Its performed procedure step was discontinued since the wrong worklist entry had been selected, so that "
    "the image may be of another patient: dismiss it, or release it if it is right."
)


def hold_images_of_step(connection: sa.Connection, step_id: int) -> None:
    """Hold in every study the images that a step names, as `hold_images_of_study` does."""
    named = sa.select(performed_instance.c.sop_instance_uid).where(performed_instance.c.step_id == step_id)
    studies = sa.select(instance.c.study_id).where(instance.c.sop_instance_uid.in_(named)).distinct()
    for study_id in connection.execute(studies.order_by(instance.c.study_id)).scalars().all():
        hold_images_of_study(connection, study_id)


def hold_images_of_study(connection: sa.Connection, study_id: int) -> None:
    """Hold the accepted images that a step of a wrong entry names and that were not released since.

    No report says them any more; of one that went out before, the reason tells.
    """
    lock_study(connection, study_id)
    accepted = (instance.c.study_id == study_id) & (instance.c.decision == "accept")
    ended = images_of_wrong_entry(connection, sa.select(instance.c.sop_instance_uid).where(accepted))
    query = sa.select(instance, order_release.c.at.label("released_at")).outerjoin(order_release)
    for row in connection.execute(query.where(accepted, instance.c.sop_instance_uid.in_(ended))).all():
        if row.released_at is not None and row.released_at >= ended[row.sop_instance_uid]:
            continue
        reason = f"{_REASON} A report of it has gone out." if row.reported else _REASON
        values = {"decision": "hold", "rung": RUNG, "reason": reason, "findings": sa.null()}
        connection.execute(sa.update(instance).where(instance.c.id == row.id).values(values))
        logger.warning("instance %d: hold (%s) %s", row.id, RUNG, reason)
