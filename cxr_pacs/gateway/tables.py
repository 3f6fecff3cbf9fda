"""The tables of the ledger. They hold UIDs and AE titles, and no name, number or date of a patient."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "accession",
    "announced",
    "commitment",
    "commitment_request",
    "commitment_transaction",
    "delivery",
    "earlier_reading",
    "executor",
    "failure",
    "fetched",
    "forwarding",
    "instance",
    "made",
    "message",
    "metadata",
    "order_check",
    "order_release",
    "released",
    "removed",
    "requested_object",
    "rerun",
    "result",
    "study",
    "superseded",
    "trial",
    "unfetched",
    "unmade",
    "watched_file",
]

metadata = sa.MetaData()

# Times are seconds since the epoch, UTC: alike on every database.
study = sa.Table(
    "study",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("last_arrival", sa.Float, nullable=False),
    sa.Column("problem", sa.Text),  # why the study has no report, when building one failed
)
instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),  # SHA-256 of the data set
    sa.Column("study_id", sa.ForeignKey("study.id"), index=True),
    sa.Column("sop_instance_uid", sa.String(64), index=True),
    sa.Column("sop_class_uid", sa.String(64)),
    sa.Column("source", sa.String(64), nullable=False),  # calling AE title
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("file", sa.Text),  # in the spool; none for a refused instance
    sa.Column("decision", sa.String(8)),  # none while it waits; accept, skip, hold, refuse
    sa.Column("rung", sa.String(64)),
    sa.Column("reason", sa.Text),
    sa.Column("reported", sa.Boolean, nullable=False, default=False),  # an SR of the study says it
    sa.Column("findings", sa.JSON),
    sa.Column("quality", sa.JSON),
)
# Accession numbers of a study's images, each as its keyed digest (`accession.py`).
accession = sa.Table(
    "accession",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), primary_key=True, autoincrement=False, index=True),
)
result = sa.Table(
    "result",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("instance_id", sa.ForeignKey("instance.id"), index=True),  # the picture's source
    sa.Column("kind", sa.String(2), nullable=False),  # SR, SC, and of the optional objects SG, PS, KO, TX
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("sources", sa.JSON),  # of a document: ids of the instances it reports
)
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("result_id", sa.ForeignKey("result.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(9), nullable=False),  # waiting, delivered, parked, dismissed
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("result_id", "destination"),
    sa.Index("ix_delivery_destination_state", "destination", "state"),
)
unmade = sa.Table(
    "unmade",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("instance_id", sa.ForeignKey("instance.id")),  # none where it belongs beside the report
    sa.Column("reason", sa.Text, nullable=False),
)
# A study that somebody asked to read again, with what the gateway runs with then.
rerun = sa.Table(
    "rerun",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("last_result", sa.Integer, nullable=False),  # newest of the study's results then; 0 for none
    sa.Column("done_at", sa.Float),
    sa.Column("failed", sa.Boolean, nullable=False, default=False),  # there is no report of it
    sa.Column("outcome", sa.Text),  # one sentence, once it is done
)
# What was said of an instance before it was read again; what is said now stands with the instance.
earlier_reading = sa.Table(
    "earlier_reading",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rerun_id", sa.ForeignKey("rerun.id"), nullable=False, index=True),
    sa.Column("instance_id", sa.ForeignKey("instance.id"), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),  # number of the last analysis of it until then
    sa.Column("decision", sa.String(8), nullable=False),
    sa.Column("rung", sa.String(64)),
    sa.Column("reason", sa.Text),
    sa.Column("findings", sa.JSON),
    sa.Column("quality", sa.JSON),
)
# Pictures, and what stands beside them, of an earlier reading of their instance.
superseded = sa.Table(
    "superseded",
    metadata,
    sa.Column("result_id", sa.ForeignKey("result.id"), primary_key=True, autoincrement=False),
)
# When the association was released that brought this image as the newest of its study.
released = sa.Table(
    "released",
    metadata,
    sa.Column("instance_id", sa.ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
# When an archive was last asked for what was missed, and every study that it has was tried.
fetched = sa.Table(
    "fetched",
    metadata,
    sa.Column("archive", sa.String(64), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
# A study that an archive has and did not give whole: it is tried again, after those that were never tried.
unfetched = sa.Table(
    "unfetched",
    metadata,
    sa.Column("archive", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), primary_key=True),
    sa.Column("since", sa.Float, nullable=False),  # when it was first tried
    sa.Column("at", sa.Float, nullable=False),  # and last
)
# An analysis that began. Its row goes when it ends, well or badly: what stays counts the processes that ended
# first.
trial = sa.Table(
    "trial",
    metadata,
    sa.Column("instance_id", sa.ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("begun", sa.Integer, nullable=False),
)
# An analysis, or the report of a study, that failed and is tried again.
failure = sa.Table(
    "failure",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("instance_id", sa.ForeignKey("instance.id"), index=True),  # none of a report
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("last", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
# A process that executes workflows beside others; on PostgreSQL only.
executor = sa.Table(
    "executor",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),  # the same after a restart
    sa.Column("life", sa.String(32), nullable=False),  # drawn by each process for itself
    sa.Column("seen_at", sa.Float, nullable=False),  # by the database's clock
)
# As `delivery`, of an original that is sent on.
forwarding = sa.Table(
    "forwarding",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("instance_id", sa.ForeignKey("instance.id"), nullable=False),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(9), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("instance_id", "destination"),
    sa.Index("ix_forwarding_destination_state", "destination", "state"),
)
# Storage commitment that we ask for (PS3.4 annex J): one N-ACTION, and each object that it may name.
commitment_transaction = sa.Table(
    "commitment_transaction",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transaction_uid", sa.String(64), nullable=False, unique=True),
    sa.Column("study_id", sa.ForeignKey("study.id"), nullable=False, index=True),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(9), nullable=False),  # gathering, asking, asked, closed
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("asked_at", sa.Float),
    sa.Column("reason", sa.Text),  # why it could not be asked for
)
commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    # the last one that named it
    sa.Column("transaction_id", sa.ForeignKey("commitment_transaction.id"), nullable=False, index=True),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    # waiting, lost (to be sent again), committed, failed, dismissed
    sa.Column("state", sa.String(9), nullable=False),
    sa.Column("repeats", sa.Integer, nullable=False),
    sa.Column("delivered_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("destination", "sop_instance_uid"),
)
# Storage commitment that a modality asks us for.
commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ae_title", sa.String(64), nullable=False),
    sa.Column("transaction_uid", sa.String(64), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),  # waiting, told, failed
    sa.Column("received_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("ae_title", "transaction_uid"),
)
requested_object = sa.Table(
    "requested_object",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("request_id", sa.ForeignKey("commitment_request.id"), nullable=False, index=True),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("sop_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("failure", sa.Integer),  # PS3.3 C.14.1.1; none while nothing was told, and for a committed one
)
# Files of the spool that retention took, or is about to.
removed = sa.Table(
    "removed",
    metadata,
    sa.Column("file", sa.Text, primary_key=True),  # as `instance` and `result` name it
    sa.Column("at", sa.Float, nullable=False),
)
# The time in each object of ours, for good; see `made.py`.
made = sa.Table(
    "made",
    metadata,
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
# What came of comparing an image with its order in the worklist.
order_check = sa.Table(
    "order_check",
    metadata,
    sa.Column("instance_id", sa.ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("outcome", sa.String(8)),  # none while the worklist does not answer, and is asked again
    sa.Column("differs", sa.JSON),  # keywords of attributes
    sa.Column("at", sa.Float, nullable=False),  # when that came out, or the worklist was first asked in vain
    sa.Column("file", sa.Text),  # in the spool: what the order says of the request
)
# An image that was held for its order or its step, and that an administrator says is right.
order_release = sa.Table(
    "order_release",
    metadata,
    sa.Column("instance_id", sa.ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
# A file of a watched folder, and what became of it: as long as it stays as it was, it is not read again.
watched_file = sa.Table(
    "watched_file",
    metadata,
    # SHA-256 of its path, which may tell a name
    sa.Column("path_digest", sa.String(64), primary_key=True),
    sa.Column("watch", sa.String(64), nullable=False, index=True),  # name of the folder in the settings
    sa.Column("size", sa.BigInteger, nullable=False),  # bytes; less than 0 where it could not be read
    sa.Column("modified", sa.BigInteger, nullable=False),  # ns since the epoch, as the file system says
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),  # taken, refused, failed
    sa.Column("reason", sa.Text),
    sa.Column("digest", sa.String(64)),  # that of `instance`
)
# What a peer is told by N-CREATE or N-SET: operations on performed procedure steps that are sent on, and the
# availability of results.
message = sa.Table(
    "message",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(12), nullable=False),  # step, availability
    sa.Column("peer", sa.String(64), nullable=False),  # its name in the settings
    sa.Column("line", sa.String(64), nullable=False, index=True),  # of these each waits for the one before
    sa.Column("operation", sa.Integer),  # of a step: its number among those of the step, from 0
    sa.Column("study_id", sa.ForeignKey("study.id"), index=True),  # of an availability
    sa.Column("tried", sa.Boolean, nullable=False),  # it may have been sent, and the answer lost
    sa.Column("state", sa.String(9), nullable=False),  # waiting, delivered, parked, dismissed
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("kind", "peer", "line", "operation"),
    sa.Index("ix_message_peer_state", "peer", "state"),
)
# The deliveries that a message of availability names; each is named once.
announced = sa.Table(
    "announced",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("delivery.id"), primary_key=True, autoincrement=False),
    sa.Column("message_id", sa.ForeignKey("message.id"), nullable=False, index=True),
)
