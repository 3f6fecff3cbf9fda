"""Studies by accession number, which is how people know them.

The ledger keeps no such number, only its digest, keyed by the site's namespace: who has the ledger alone
cannot tell the numbers. The orders of the worklist name theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

import sqlalchemy as sa

from cxr_pacs.gateway.tables import accession, study
from cxr_pacs.worklist.tables import item, performed_item, performed_study

__all__ = ["accession_digest", "studies_of"]


def accession_digest(namespace: uuid.UUID, number: str) -> str | None:
    """HMAC-SHA-256 of an accession number, without the spaces around it; None where there is none."""
    stripped = number.strip()
    return hmac.new(namespace.bytes, stripped.encode(), hashlib.sha256).hexdigest() if stripped else None


def studies_of(connection: sa.Connection, namespace: uuid.UUID, number: str) -> list[str]:
    """UIDs of the studies that came, of which an image, or an order in the worklist, has this number.

    An order is that of a study by its Study Instance UID, or by a performed procedure step of both. What
    came before the ledger kept digests is found by its order alone.
    """
    ordered = item.c.accession_number == number.strip()
    performed = (
        sa.select(performed_study.c.study_instance_uid)
        .join(performed_item, performed_item.c.step_id == performed_study.c.step_id)
        .join(item, item.c.id == performed_item.c.item_id)
    )
    imaged = sa.select(accession.c.study_id).where(accession.c.digest == accession_digest(namespace, number))
    found = sa.select(study.c.study_instance_uid).where(
        study.c.id.in_(imaged)
        | study.c.study_instance_uid.in_(sa.select(item.c.study_instance_uid).where(ordered))
        | study.c.study_instance_uid.in_(performed.where(ordered))
    )
    return list(connection.execute(found.order_by(study.c.id)).scalars()) if number.strip() else []
