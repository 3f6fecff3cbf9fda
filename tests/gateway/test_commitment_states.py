"""Whatever archives report, and in whatever order: no object is forgotten, and none asked for without end."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from radiographs import make_radiograph

from cxr_pacs.dimse import CommitmentReport, ObjectReference
from cxr_pacs.dimse.commitment import FAILURE_REASONS
from cxr_pacs.gateway.commitment import MOST_REPEATS, CommitmentUser
from cxr_pacs.gateway.commitment_ledger import set_state
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.owed import Owed
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import commitment, commitment_transaction, study
from cxr_pacs.settings import Settings

OBJECTS = 3
# One more than those of the objects: an archive may speak of what it was not asked for.
UIDS = [f"1.2.3.{number}" for number in range(OBJECTS + 1)]
SETTINGS = Settings.model_validate(
    {"destination": [{"name": "pacs", "ae_title": "P", "host": "h", "port": 1, "commitment": True}]}
)
BYTES = [make_radiograph(SOPInstanceUID=uid) for uid in UIDS[:OBJECTS]]


def _delivered(uid, file):
    return Owed(
        work="deliver",
        id=1,
        destination="pacs",
        state="delivered",
        attempts=1,
        created_at=0.0,
        reason=None,
        kind="SR",
        file=file,
        study_id=1,
        study_instance_uid="1.2",
        sop_instance_uid=uid,
    )


class RecordingQueue:
    """Remembers what was enqueued."""

    def __init__(self) -> None:
        self.rows: set[int] = set()

    def enqueue(self, connection, name, row_id, attempt, *, delay=0.0, partition=None):
        assert (name, partition) == ("commit", "pacs")
        self.rows.add(row_id)


class Reports(RuleBasedStateMachine):
    """Reports of any transaction that was ever asked for, with any outcome for any object."""

    @initialize()
    def deliver(self):
        self.folder = tempfile.TemporaryDirectory()
        spool = Spool(Path(self.folder.name))
        self.ledger = open_ledger(f"sqlite:///{self.folder.name}/ledger.sqlite")
        self.queue = RecordingQueue()
        self.user = CommitmentUser(
            Site(settings=SETTINGS, ledger=self.ledger, spool=spool, queue=self.queue, clock=lambda: 1e9)
        )
        self.committed: set[str] = set()
        with self.ledger.begin() as connection:
            connection.execute(sa.insert(study).values(study_instance_uid="1.2", last_arrival=0.0))
            for uid, made in zip(UIDS, BYTES, strict=False):
                file = f"results/{uid}.dcm"
                made.save_as(spool.path(file))
                self.user.owe(connection, _delivered(uid, file))

    def teardown(self):
        self.ledger.engine.dispose()
        self.folder.cleanup()

    def _rows(self, table):
        with self.ledger.begin() as connection:
            return connection.execute(sa.select(table).order_by(table.c.id)).all()

    @rule(
        which=st.integers(min_value=0),
        said=st.dictionaries(st.sampled_from(UIDS), st.sampled_from([None, *FAILURE_REASONS]), min_size=1),
    )
    def report(self, which, said):
        transactions = self._rows(commitment_transaction)
        of = transactions[which % len(transactions)]
        references = {
            uid: ObjectReference(sop_class_uid=BYTES[0].SOPClassUID, sop_instance_uid=uid) for uid in said
        }
        assert self.user.take_report(
            CommitmentReport(
                transaction_uid=of.transaction_uid,
                committed=tuple(one for uid, one in references.items() if said[uid] is None),
                failed={one: said[uid] for uid, one in references.items() if said[uid] is not None},
            )
        )

    @rule(which=st.integers(min_value=0))
    def expire(self, which):
        transactions = self._rows(commitment_transaction)
        of = transactions[which % len(transactions)]
        with self.ledger.begin() as connection:
            set_state(connection, of.id, "asked", asked_at=0.0)
        self.user.commit(of.id, 1)

    @invariant()
    def nothing_is_forgotten(self):
        transactions = {row.id: row for row in self._rows(commitment_transaction)}
        rows = self._rows(commitment)
        assert [row.sop_instance_uid for row in rows] == UIDS[:OBJECTS]
        for row in rows:
            assert row.repeats <= MOST_REPEATS
            if row.state in {"waiting", "lost"}:
                assert transactions[row.transaction_id].state != "closed"
                assert row.transaction_id in self.queue.rows
            else:
                assert row.finished_at is not None
            assert (row.state == "failed") <= bool(row.reason)
        now = {row.sop_instance_uid for row in rows if row.state == "committed"}
        assert self.committed <= now
        self.committed = now

    @invariant()
    def nothing_is_asked_without_end(self):
        assert len(self._rows(commitment_transaction)) <= 1 + OBJECTS * MOST_REPEATS


Reports.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=12, deadline=None)
TestReports = Reports.TestCase
