"""The tables of the worklist. They hold what identifies patients: no log line or message may quote them."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["item", "metadata", "station"]

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
    sa.Column("modality", sa.String(16), nullable=False),
    sa.Column("start", sa.String(20), nullable=False),  # YYYYMMDDHHMMSSffffff
    sa.Column("accession_number", sa.Text, nullable=False, index=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("step_id", sa.Text, nullable=False, index=True),
    sa.Column("dataset", sa.LargeBinary, nullable=False),
    sa.Index("ix_worklist_item_modality_start", "modality", "start"),
    sa.Index("ix_worklist_item_start", "start"),
)
station = sa.Table(
    "worklist_station",
    metadata,
    sa.Column("item_id", sa.ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("ae_title", sa.String(16), primary_key=True),
    sa.Index("ix_worklist_station_ae_title", "ae_title", "item_id"),
)
