"""Retention: what holds a study back, each reason alone; what begins its days anew; and several processes."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from peers import eventually, send
from performed_steps import creation, scheduled
from radiographs import make_radiograph, synthetic_chest
from worklist_items import worklist_item

from cxr_pacs.dimse import CommitmentRequest, ObjectReference
from cxr_pacs.errors import CannotReadAgain, SettingsError
from cxr_pacs.gateway import (
    commitment_ledger,
    commitment_provider,
    dismissal,
    messages,
    owed,
    retention,
    tables,
)
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.rerun import ask_again, close_reruns
from cxr_pacs.gateway.retention import DAY, Retention, holding_back
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import Settings, parse_settings
from cxr_pacs.worklist import StepState, Worklist
from cxr_pacs.worklist import tables as worklist_tables
from cxr_pacs.worklist.performed import add_step, keep_operation, steps_of_study
from cxr_pacs.worklist.tables import performed_operation

FILES_DAYS, ROWS_DAYS = 3, 6
DX = "1.2.840.10008.5.1.4.1.1.1.1"


class NoWorkflows:
    """Stands for DBOS, which these tests do not start."""

    def forget(self, before):
        """Nothing is recorded."""


class Killed(BaseException):
    """The process ends here."""


def kill(_before):
    raise Killed


class Hand:
    """A ledger and a spool that are written by hand, with a clock of their own."""

    def __init__(self, folder, url="", **settings):
        self.spool = Spool(folder / "spool")
        self.ledger = open_ledger(url or f"sqlite:///{folder / 'ledger.sqlite'}")
        self.now = 1_000_000_000.0
        self.serial = 0
        self.settings = settings or {"files_days": FILES_DAYS, "rows_days": ROWS_DAYS}
        self.queue = NoWorkflows()
        self.retention = self.process()

    def process(self):
        site = Site(
            settings=Settings.model_validate({"retention": self.settings}),
            ledger=self.ledger,
            spool=self.spool,
            queue=self.queue,
            clock=lambda: self.now,
        )
        return Retention(site)

    def pass_days(self, days):
        self.now += days * DAY
        self.retention.once()

    def do(self, action, *arguments, **named):
        with self.ledger.begin() as connection:
            return action(connection, *arguments, **named)

    def keep(self, file):
        os.utime(self.spool.path(file), (self.now, self.now))
        return file

    def arrival(self, study=1, decision=None, sop=None):
        self.serial += 1
        digest = f"{self.serial:064x}"
        return Arrival(
            digest=digest,
            source="MODALITY",
            received_at=self.now,
            study_instance_uid=f"1.{study}",
            sop_instance_uid=sop or f"1.{study}.{self.serial}",
            sop_class_uid=DX,
            file=self.keep(self.spool.keep_original(digest, b"original")),
            decision=decision,
            rung="test",
            reason="A test.",
        )

    def arrive(self, *of, **named):
        return self.do(self.ledger.add_arrival, self.arrival(*of, **named))

    def report(self, image, *destinations):
        """Report one image, and owe the report; ids of the deliveries."""
        self.serial += 1
        uid = f"2.25.{self.serial}"
        file = self.keep(self.spool.keep_result(uid, b"result"))
        with self.ledger.begin() as connection:
            study_id = self.ledger.instance(connection, image).study_id
            self.ledger.set_reported(connection, (image,))
            made = MadeObject(study_id=study_id, kind="SR", sop_instance_uid=uid, file=file, sources=(image,))
            result = self.ledger.add_result(connection, made)
            return [
                owed.owe(connection, owed.DELIVER, result, destination, self.now)
                for destination in destinations
            ]

    def finish(self, row, state="delivered", work=owed.DELIVER):
        self.do(owed.finish, work, row, state=state, now=self.now, reason=None)

    def forward(self, image):
        return self.do(owed.owe, owed.FORWARD, image, "pacs", self.now)

    def ask_commitment(self):
        """Ask an archive to commit an object; the transaction."""
        one = ObjectReference(sop_class_uid=DX, sop_instance_uid="2.25.7")
        transaction = self.do(commitment_ledger.add_transaction, 1, "pacs", "asking", self.now)
        self.do(commitment_ledger.add_object, transaction, one, "results/7.dcm", self.now)
        return transaction

    def commit(self, transaction):
        row = self.do(commitment_ledger.ask, transaction)
        one = self.do(commitment_ledger.open_objects, transaction)[0].reference
        self.do(commitment_ledger.commit, row, [one], self.now)

    def be_asked(self):
        """A modality asks for the study's first image; the request."""
        one = ObjectReference(sop_class_uid=DX, sop_instance_uid="1.1.1")
        asked = CommitmentRequest(calling_ae_title="DX1", transaction_uid="2.25.8", objects=(one,))
        return self.do(commitment_provider._add, asked, self.now)

    def tell(self, request):
        self.do(commitment_provider._finish, request, "told", None, self.now)

    def done(self):
        """A study of which all was taken; its image. And one that was refused, and so is of no study."""
        image = self.arrive(decision="accept")
        (delivery,) = self.report(image, "pacs")
        self.finish(delivery)
        refused = {"decision": "refuse", "rung": "test", "reason": "A test."}
        self.do(self.ledger.add_arrival, Arrival(digest="x", source="A", received_at=self.now, **refused))
        return image

    def rows(self, table):
        return self.do(lambda connection: connection.execute(sa.select(table)).all())

    def files(self):
        return {file for folder in self.spool.folders() for file in folder}


@pytest.fixture
def site(tmp_path):
    hand = Hand(tmp_path)
    yield hand
    hand.ledger.engine.dispose()


@pytest.fixture
def shared(tmp_path, on_both_databases):
    hand = Hand(tmp_path, on_both_databases)
    yield hand
    hand.ledger.engine.dispose()


# Each makes a study wait for something, and gives what ends that.


def undecided(site):
    image = site.arrive()
    return lambda: site.do(site.ledger.decide, image, decision="skip", rung="test", reason="A test.")


def unreported(site):
    image = site.arrive(decision="accept")
    return lambda: site.report(image)


def held(site):
    site.arrive(decision="hold", sop="1.1.9")
    return lambda: site.report(site.arrive(decision="accept", sop="1.1.9"))


def double(site):
    """Another film under a UID that was read."""
    site.report(site.arrive(decision="accept", sop="1.1.9"))
    site.arrive(sop="1.1.9")

    def dismissed():
        (one,) = site.do(dismissal.held, "1.1.9")
        assert site.do(dismissal.dismiss_held, one, site.now)

    return dismissed


def unreportable(site):
    site.do(site.ledger.set_problem, 1, "no code")
    return lambda: site.do(site.ledger.set_problem, 1, None)


def to_be_read_again(site):
    asked = {"study_id": 1, "asked_at": site.now, "last_result": 0}
    site.do(lambda connection: connection.execute(sa.insert(tables.rerun).values(asked)))
    return lambda: site.do(close_reruns, 1, site.now)


def waiting(site):
    (delivery,) = site.report(site.arrive(decision="accept"), "pacs")
    return lambda: site.finish(delivery)


def parked(site):
    (delivery,) = site.report(site.arrive(decision="accept"), "pacs")
    site.finish(delivery, "parked")
    return lambda: site.do(owed.dismiss, owed.DELIVER, delivery, site.now)


def waiting_to_be_forwarded(site):
    row = site.forward(1)
    return lambda: site.finish(row, work=owed.FORWARD)


def parked_original(site):
    row = site.forward(1)
    site.finish(row, "parked", owed.FORWARD)
    return lambda: site.do(owed.dismiss, owed.FORWARD, row, site.now)


def uncommitted(site):
    transaction = site.ask_commitment()
    return lambda: site.commit(transaction)


def not_committed(site):
    transaction = site.ask_commitment()
    (row,) = site.do(commitment_ledger.open_objects, transaction)
    site.do(commitment_ledger.fail, row.id, "A test.", site.now)

    def asked_anew():
        again = site.do(commitment_ledger.add_transaction, 1, "pacs", "asking", site.now)
        site.do(commitment_ledger.repeat, again, row, "A test.")
        site.commit(again)

    return asked_anew


def never_to_be_committed(site):
    transaction = site.ask_commitment()
    (row,) = site.do(commitment_ledger.open_objects, transaction)
    site.do(commitment_ledger.fail, row.id, "A test.", site.now)

    def dismissed():
        (failed,) = site.do(dismissal.failed_commitments, "pacs", "1.1")
        assert site.do(dismissal.dismiss_commitment, failed, site.now)

    return dismissed


def untold(site):
    request = site.be_asked()
    return lambda: site.tell(request)


def unnotified(site):
    (delivery,) = site.report(site.arrive(decision="accept"), "pacs")
    site.finish(delivery)
    row = site.do(messages.add, messages.AVAILABILITY, "pacs", "1.77", site.now, study_id=1)
    named = sa.insert(tables.announced).values(delivery_id=delivery, message_id=row)
    site.do(lambda connection: connection.execute(named))
    return lambda: site.do(messages.finish, row, state="delivered", now=site.now, reason=None)


HOLDING_BACK = {
    undecided: "an instance waits for its analysis",
    unreported: "an instance waits for its report",
    held: "an instance is held, and no other content of it was accepted later",
    double: "an instance is held, and no other content of it was accepted later",
    unreportable: "its report could not be built",
    to_be_read_again: "somebody asked to read it again",
    waiting: "an object or an original is owed to a destination",
    parked: "an object or an original is owed to a destination",
    waiting_to_be_forwarded: "an object or an original is owed to a destination",
    parked_original: "an object or an original is owed to a destination",
    uncommitted: "a destination did not commit what it was asked to",
    not_committed: "a destination did not commit what it was asked to",
    never_to_be_committed: "a destination did not commit what it was asked to",
    untold: "a modality waits for our commitment",
    unnotified: "a peer is to be told of it",
}


def test_every_reason_to_hold_a_study_back_is_tried():
    assert set(HOLDING_BACK.values()) == set(holding_back())


@pytest.mark.parametrize("begin", HOLDING_BACK)
def test_a_study_stays_until_what_holds_it_back_ends(shared, begin):
    shared.done()
    end = begin(shared)
    kept = shared.files()
    shared.pass_days(ROWS_DAYS)
    assert shared.files() == kept
    assert shared.rows(tables.removed) == []
    assert len(shared.rows(tables.study)) == 1
    reasons = {
        name for name, query in holding_back().items() if shared.do(lambda c, q=query: c.execute(q).all())
    }
    assert reasons == {HOLDING_BACK[begin]}
    end()
    shared.pass_days(ROWS_DAYS)
    assert shared.files() == set()
    assert {table.name for table in tables.metadata.sorted_tables if shared.rows(table)} == set()


def test_steps_stay_until_their_peers_are_told(shared):
    """The first two are old; of the first a peer is still to be told."""
    for uid in ("1.5.1", "1.5.2", "1.5.3"):
        step = shared.do(add_step, uid, creation(scheduled("1.9")), source="CR1", now=shared.now)
        shared.do(keep_operation, step, creation())
        shared.do(messages.add, messages.STEP, "ris", uid, shared.now, operation=0)
        if uid == "1.5.2":
            shared.pass_days(ROWS_DAYS - 1)
    waits, *others = shared.rows(tables.message)
    for row in others:
        shared.do(messages.finish, row.id, state="delivered", now=shared.now, reason=None)
    shared.pass_days(2)

    def left():
        return {one.sop_instance_uid for one in shared.do(steps_of_study, "1.9")}

    assert left() == {"1.5.1", "1.5.3"} == {row.line for row in shared.rows(tables.message)}
    shared.do(messages.finish, waits.id, state="delivered", now=shared.now, reason=None)
    shared.pass_days(ROWS_DAYS)
    assert left() == set()
    assert shared.rows(tables.message) == shared.rows(performed_operation) == []


def test_worklist_items_go_once_they_are_past(shared):
    """Of the first four one is to come, one was changed lately and one lies in the watched folder."""
    worklist = Worklist(shared.ledger.engine)
    past, to_come = (
        dt.datetime.fromtimestamp(shared.now + days * DAY, tz=dt.UTC).strftime("%Y%m%d") for days in (-3, 30)
    )
    items = [worklist_item(number, day=past) for number in "124"] + [worklist_item("3", day=to_come)]
    shared.do(worklist.put, items, "command", shared.now)
    with shared.ledger.begin() as connection:
        held = {"name": "1.wl", "size": 1, "modified": 1, "key": items[0].key}
        connection.execute(sa.insert(worklist_tables.file).values(**held))
    shared.pass_days(ROWS_DAYS - 1)
    (lately,) = shared.do(worklist.of_order, accession_number="2")
    shared.do(worklist.set_state, lately.id, StepState.COMPLETED, shared.now)
    shared.pass_days(2)
    assert {row.accession_number for row in shared.rows(worklist_tables.item)} == {"1", "2", "3"}
    shared.pass_days(ROWS_DAYS)
    assert {row.accession_number for row in shared.rows(worklist_tables.item)} == {"1", "3"}


def a_late_image(site):
    return lambda: site.report(site.arrive(decision="accept"))


def a_late_copy(site):
    return lambda: site.arrive(decision="skip", sop="1.1.1")


@pytest.mark.parametrize(
    "activity",
    [a_late_image, a_late_copy, to_be_read_again, waiting, waiting_to_be_forwarded, uncommitted, untold],
)
def test_the_days_begin_with_the_last_activity(site, activity):
    site.done()
    end = activity(site)
    site.now += DAY
    end()
    kept = site.files()
    site.pass_days(FILES_DAYS - 1e-5)
    assert site.files() == kept
    assert site.rows(tables.removed) == []
    site.pass_days(1e-4)
    assert site.files() == set()


def test_what_is_marked_is_gone_for_whatever_reads_though_a_killed_process_left_the_file(site, monkeypatch):
    image = site.done()
    kept = site.files()
    site.now += FILES_DAYS * DAY
    with monkeypatch.context() as patched:
        patched.setattr(site.retention, "_delete_files", kill)
        with pytest.raises(Killed):
            site.retention.once()
    assert site.files() == kept
    with pytest.raises(CannotReadAgain, match=r"were removed, as retention\.files_days says"):
        site.do(ask_again, NoWorkflows(), "1.1", site.spool.root, site.now)
    late = site.arrive()
    assert [row.id for row in site.do(site.ledger.study_instances, 1)] == [late]
    assert late != image
    site.retention.once()
    assert len(site.files()) == 1


def test_why_tells_of_files_that_are_gone(site):
    site.done()
    site.pass_days(FILES_DAYS)
    history = site.do(study_history, "1.1")
    assert [(event.at, event.sentence) for event in history.events[-2:]] == [
        (site.now, "1 original file(s) were removed, as the retention settings say."),
        (site.now, "1 result file(s) were removed, as the retention settings say."),
    ]
    assert (history.conclusion, history.done) == ("All 1 deliveries were taken.", True)


def test_what_is_kept_for_no_row_goes_when_nobody_wrote_it_for_as_long(site):
    site.settings = {"files_days": FILES_DAYS}
    site.retention = site.process()
    (site.spool.root / "incoming" / "host-0").mkdir()
    (site.spool.root / "incoming" / "host-0.lock").touch()
    half = site.spool.path("incoming/host-0/half")
    half.write_bytes(b"x")
    site.keep("incoming/host-0/half")
    # Another ledger may know it.
    foreign = site.keep(site.spool.keep_original("ff" * 32, b"x"))
    result = site.keep(site.spool.keep_result("2.25.99", b"x"))
    site.pass_days(FILES_DAYS - 1e-5)
    assert len(site.files()) == 3
    site.spool.keep_result("2.25.99", b"y")  # of a study that is analysed once more
    site.pass_days(1e-4)
    assert site.files() == {foreign, result}
    assert site.spool.path(result).read_bytes() == b"x"
    assert (site.spool.root / "incoming" / "host-0.lock").exists()


def test_nothing_is_deleted_that_was_not_asked_for(tmp_path):
    site = Hand(tmp_path, files_days=0)
    site.done()
    site.spool.keep_original("ff" * 32, b"x")
    kept = site.files()
    site.pass_days(10_000)
    assert site.files() == kept
    assert len(site.rows(tables.study)) == 1
    site.ledger.engine.dispose()


@pytest.mark.parametrize("decision", [None, "hold"])
def test_a_study_that_is_arriving_right_now_is_not_deleted(shared, decision):
    """Its row is not committed when retention chooses; one that is held leaves the study's time alone."""
    shared.done()
    shared.now += ROWS_DAYS * DAY
    arrival = shared.arrival(decision=decision, sop="1.1.1" if decision else None)
    with ThreadPoolExecutor(1) as other:
        with shared.ledger.begin() as connection:
            assert shared.ledger.add_arrival(connection, arrival)
            running = other.submit(shared.retention.once)
            if shared.ledger.is_shared:
                eventually(lambda: running.done() or _waits(shared))
        running.result(60)
    assert shared.rows(tables.removed) == []
    assert len(shared.rows(tables.study)) == 1


@pytest.mark.parametrize("on_both_databases", ["postgresql"], indirect=True)
def test_a_study_that_arrives_while_it_is_deleted_begins_anew(shared, monkeypatch):
    shared.done()
    shared.now += ROWS_DAYS * DAY
    delete, deleting, go_on = retention._delete_studies, threading.Event(), threading.Event()

    def slowly(connection, studies):
        deleting.set()
        assert go_on.wait(60)
        delete(connection, studies)

    monkeypatch.setattr(retention, "_delete_studies", slowly)
    with ThreadPoolExecutor(2) as others:
        running = others.submit(shared.retention.once)
        assert deleting.wait(60)
        arriving = others.submit(shared.arrive)
        eventually(lambda: arriving.done() or _waits(shared))
        go_on.set()
        running.result(60)
        new = arriving.result(60)
    assert [row.id for row in shared.rows(tables.instance)] == [new]
    assert len(shared.rows(tables.study)) == len(shared.files()) == 1


def _waits(site):
    """Whether a session of PostgreSQL waits for a lock."""
    query = sa.text(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return site.do(lambda connection: connection.execute(query).first())


def test_several_processes_do_it_at_once(shared):
    for study in range(30):
        image = shared.arrive(study, "accept")
        shared.report(image)
    shared.now += ROWS_DAYS * DAY
    with ThreadPoolExecutor(4) as processes:
        for ended in [processes.submit(shared.process().once) for _ in range(4)]:
            ended.result(60)
    assert shared.files() == set()
    assert {table.name for table in tables.metadata.sorted_tables if shared.rows(table)} == set()


def test_a_study_that_comes_again_after_its_rows_went_gives_the_same_bytes(archive, make_settings, serving):
    """The archive refuses other bytes under a UID that it has."""
    settings = make_settings(archive)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    with serving(settings) as gateway:
        assert send([film], gateway.port) == [0x0000]
        archive.wait_for(lambda held: len(held) == 2, timeout=30)
        hand = Hand(settings.spool.path.parent, settings.database_url, files_days=1, rows_days=1)
        eventually(lambda: [row.state for row in hand.rows(tables.delivery)] == ["delivered"] * 2)
        first = {row.sop_instance_uid for row in hand.rows(tables.result)}
        hand.now = time.time() + 8 * DAY
        hand.queue = Queue(hand.ledger.engine)
        hand.process().once()
        assert hand.rows(tables.study) == []
        assert hand.files() == set()
        assert send([film], gateway.port) == [0x0000]
        eventually(lambda: [row.state for row in hand.rows(tables.delivery)] == ["delivered"] * 2)
        assert {row.sop_instance_uid for row in hand.rows(tables.result)} == first
        hand.queue.close()
        hand.ledger.engine.dispose()
    assert archive.conflicts == []
    assert len(archive.instances) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[retention]\nrows_days = 3", "rows cannot go before the files that they name"),
        ("[retention]\nrows_days = 3\nfiles_days = 4", "rows cannot go before the files that they name"),
        (
            "[retention]\nrows_days = 1\nfiles_days = 1\n[fetch]\nevery = 60\nlook_back = 25",
            "24 h are less than the 25 h of fetch.look_back",
        ),
    ],
)
def test_settings_that_would_lose_something_are_refused(text, reason):
    with pytest.raises(SettingsError, match=reason):
        parse_settings(text, "site.toml")
