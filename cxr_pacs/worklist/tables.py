"""The tables of the worklist. They hold what identifies patients: no log line or message may quote them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

__all__ = [
    "file",
    "item",
    "message",
    "metadata",
    "name",
    "performed_instance",
    "performed_item",
    "performed_operation",
    "performed_step",
    "performed_study",
    "station",
]

# Sorted by code point, so that all that begins alike lies together, on either database.
_SORTED = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

# Apart from the ledger's, in the same database.
metadata = sa.MetaData()

item = sa.Table(
    "worklist_item",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),  # see WorklistItem.key
    sa.Column("origin", sa.String(255), nullable=False),  # who put it here: "file:NAME", "hl7", "command"
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),  # seconds since the epoch
    # To find by; the truth is the data set. Empty where it has none.
    sa.Column("modality", _SORTED, nullable=False),
    sa.Column("start", _SORTED, nullable=False),  # YYYYMMDDHHMMSSffffff
    sa.Column("accession_number", _SORTED, nullable=False, index=True),
    sa.Column("patient_id", _SORTED, nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("step_id", _SORTED, nullable=False, index=True),
    sa.Column("dataset", sa.LargeBinary, nullable=False),
    sa.Index("ix_worklist_item_modality_start", "modality", "start"),
    sa.Index("ix_worklist_item_start", "start"),
)
station = sa.Table(
    "worklist_station",
    metadata,
    sa.Column("item_id", sa.ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("ae_title", _SORTED, primary_key=True),
    sa.Index("ix_worklist_station_ae_title", "ae_title", "item_id"),
)
# Component groups of Patient's Name, each as it is compared (`names.name_groups`).
name = sa.Table(
    "worklist_name",
    metadata,
    sa.Column("item_id", sa.ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", _SORTED, primary_key=True),
    sa.Index("ix_worklist_name_name", "name", "item_id"),
)
# Modality performed procedure steps (PS3.4 F.7), as their modalities say that they are.
performed_step = sa.Table(
    "performed_step",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("state", sa.String(12), nullable=False),  # IN PROGRESS, COMPLETED, DISCONTINUED
    sa.Column("source", sa.String(64), nullable=False),  # calling AE title
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False, index=True),
    sa.Column("dataset", sa.LargeBinary, nullable=False),
)
# Found in its data set: the studies and the worklist items that it is of, and the instances that came of it.
performed_study = sa.Table(
    "performed_study",
    metadata,
    sa.Column("step_id", sa.ForeignKey("performed_step.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), primary_key=True, index=True),
)
performed_item = sa.Table(
    "performed_item",
    metadata,
    sa.Column("step_id", sa.ForeignKey("performed_step.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("item_id", sa.ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True, index=True),
)
performed_instance = sa.Table(
    "performed_instance",
    metadata,
    sa.Column("step_id", sa.ForeignKey("performed_step.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True, index=True),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
)
# What a modality asked for, in its order, where somebody else is to be asked for the same.
performed_operation = sa.Table(
    "performed_operation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("step_id", sa.ForeignKey("performed_step.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("attributes", sa.LargeBinary, nullable=False),
)
# Messages that were taken, so that one that comes again changes nothing. Digests only.
message = sa.Table(
    "worklist_message",
    metadata,
    sa.Column("sent", sa.String(64), primary_key=True),  # of sender and control ID
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("taken_at", sa.Float, nullable=False, index=True),  # seconds since the epoch
)
# Files of the watched folder that were taken.
file = sa.Table(
    "worklist_file",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),  # below the folder
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),  # nanoseconds since the epoch
    sa.Column("key", sa.Text, nullable=False, index=True),  # of its item
)
