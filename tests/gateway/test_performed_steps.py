"""Performed procedure steps in the gateway: what they do to worklist items, and to the report of a study."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from threading import Barrier

import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from peers import eventually, free_port, send
from performed_steps import completion, creation, scheduled, series
from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import ModalityPerformedProcedureStep
from radiographs import make_radiograph, synthetic_chest
from test_order_check import released
from test_rerun import told
from worklist_items import worklist_dataset

from cxr_pacs.dimse import Listener, LocalEntity, Peer, create_step, set_step
from cxr_pacs.dimse.associations import associate
from cxr_pacs.gateway.history import study_history
from cxr_pacs.gateway.ledger import Arrival, open_ledger
from cxr_pacs.gateway.order_check import hold_images_of_step
from cxr_pacs.gateway.order_check.record import record_release
from cxr_pacs.gateway.order_check.wrong_entry import hold_images_of_study
from cxr_pacs.gateway.performed_steps import step_service
from cxr_pacs.gateway.study import until_due
from cxr_pacs.gateway.tables import instance
from cxr_pacs.settings import MppsSettings, Settings, StudySettings
from cxr_pacs.worklist import StepState, WorklistItem, open_worklist, performed
from cxr_pacs.worklist.performed import add_step, forget_steps, steps_of_study

DEADLINE = 30.0
QUIET = 600.0


def films(count):
    found = [make_radiograph(picture=synthetic_chest(150, 130, seed)) for seed in range(count)]
    for one in found:
        one.StudyInstanceUID = found[0].StudyInstanceUID
    return found


@pytest.fixture
def patient(make_settings, archive):
    """Settings with a quiet period that no test waits for, nor the end of an association."""
    study = StudySettings(quiet_period=QUIET, after_release=QUIET, longest_wait=2 * QUIET)
    return make_settings(archive).model_copy(update={"study": study, "mpps": MppsSettings(serve=True)})


def reason(code):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "Reason"
    return item


def begin(gateway, uid, study):
    create_step("CR1", gateway, uid, creation(scheduled(study)))


def end(gateway, uid, images, **kwargs):
    set_step("CR1", gateway, uid, completion([one.SOPInstanceUID for one in images], **kwargs))


def decisions(settings):
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        found = connection.execute(sa.select(instance.c.decision)).scalars().all()
    ledger.engine.dispose()
    return found


def modalities(archive):
    return sorted(one.modality for one in archive.instances)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_the_last_image_comes_before_the_end_of_the_step(archive, patient, serving):
    images = films(2)
    with serving(patient) as gateway:
        begin(gateway, "1.2.50", images[0].StudyInstanceUID)
        assert send(images, gateway.port) == [0, 0]
        eventually(lambda: decisions(patient) == ["accept"] * 2)
        assert archive.instances == ()
        end(gateway, "1.2.50", images)
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert modalities(archive) == ["OT", "OT", "SR"]


def test_the_last_image_comes_after_the_end_of_the_step(archive, patient, serving):
    images = films(2)
    with serving(patient) as gateway:
        begin(gateway, "1.2.50", images[0].StudyInstanceUID)
        assert send(images[:1], gateway.port) == [0]
        end(gateway, "1.2.50", images, status="DISCONTINUED")
        eventually(lambda: decisions(patient) == ["accept"])
        assert archive.instances == ()
        assert send(images[1:], gateway.port) == [0]
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert modalities(archive) == ["OT", "OT", "SR"]


def test_two_steps_of_a_study(archive, patient, serving):
    images = films(2)
    study = images[0].StudyInstanceUID
    with serving(patient) as gateway:
        begin(gateway, "1.2.50", study)
        begin(gateway, "1.2.51", study)
        assert send(images, gateway.port) == [0, 0]
        end(gateway, "1.2.50", images[:1])
        eventually(lambda: decisions(patient) == ["accept"] * 2)
        assert archive.instances == ()
        end(gateway, "1.2.51", images[1:])
        archive.wait_for(lambda held: len(held) == 3, timeout=DEADLINE)
    assert modalities(archive) == ["OT", "OT", "SR"]


def test_images_of_a_wrong_entry_are_held_at_once(archive, patient, serving):
    images = films(1)
    study = images[0].StudyInstanceUID
    with serving(patient) as gateway:
        begin(gateway, "1.2.50", study)
        assert send(images, gateway.port) == [0]
        eventually(lambda: decisions(patient) == ["accept"])
        end_in_error(gateway, images)
        assert (
            "Performed procedure step 1.2.50 discontinued with 1 instance: the wrong worklist entry had been "
            "selected, so that it may be of another patient, and hastens no report."
        ) in told(patient, study)
        assert decisions(patient) == ["hold"]
    assert archive.instances == ()


@pytest.fixture
def brief(patient):
    """Settings with a quiet period that a test may wait for."""
    study = StudySettings(quiet_period=0.3, after_release=0.1)
    return patient.model_copy(update={"study": study})


def end_in_error(gateway, images):
    """The modality says that it had selected the wrong worklist entry."""
    code = {"PerformedProcedureStepDiscontinuationReasonCodeSequence": [reason("110514")]}
    end(gateway, "1.2.50", images, status="DISCONTINUED", **code)


def history(settings, uid):
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        found = study_history(connection, uid)
    ledger.engine.dispose()
    return " ".join(event.sentence for event in found.events), found.conclusion


HELD = "held: Its performed procedure step was discontinued since the wrong worklist entry had been selected"


class TestImagesOfAWrongEntry:
    @pytest.fixture
    def database_url(self, on_both_databases):
        return on_both_databases

    def test_they_are_held_until_they_are_released(self, archive, brief, serving, tmp_path):
        images = films(2)
        study = images[0].StudyInstanceUID
        with serving(brief) as gateway:
            begin(gateway, "1.2.50", study)
            end_in_error(gateway, images[:1])
            assert send(images, gateway.port) == [0, 0]
            # The other one, of which the step does not speak.
            archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
            assert sorted(decisions(brief)) == ["accept", "hold"]
            sentences, conclusion = history(brief, study)
            assert HELD in sentences
            assert "A report of it has gone out" not in sentences
            assert conclusion == "1 instance(s) are held and need a person."
            assert "1 image(s) that are held for their order were" in released(
                brief, tmp_path, images[0].SOPInstanceUID, "--yes"
            )
            archive.wait_for(lambda held: len(held) == 4, timeout=DEADLINE)
        assert modalities(archive) == ["OT", "OT", "SR", "SR"]
        assert decisions(brief) == ["accept"] * 2

    def test_one_that_is_reported_already_needs_a_person(self, archive, brief, serving, tmp_path):
        images = films(1)
        study = images[0].StudyInstanceUID
        with serving(brief) as gateway:
            begin(gateway, "1.2.50", study)
            assert send(images, gateway.port) == [0]
            archive.wait_for(lambda held: len(held) == 2, timeout=DEADLINE)
            end_in_error(gateway, images)
            sentences, conclusion = history(brief, study)
            assert HELD in sentences
            assert "A report of it has gone out." in sentences
            assert conclusion == "1 instance(s) are held and need a person."
            assert "1 image(s)" in released(brief, tmp_path, study, "--yes")
            eventually(lambda: history(brief, study)[1] == "All 2 deliveries were taken.", timeout=DEADLINE)
        assert len(archive.receptions) == 2


def test_a_release_is_of_what_was_known_then(tmp_path, on_both_databases):
    ledger = open_ledger(on_both_databases or f"sqlite:///{tmp_path / 'l.sqlite'}")
    arrival = Arrival(
        digest="a",
        source="CR1",
        received_at=1.0,
        study_instance_uid="1.9",
        sop_instance_uid="1.1",
        file="f",
    )
    with ledger.begin() as connection:
        row = ledger.add_arrival(connection, arrival)
        ledger.decide(connection, row, decision="accept", rung="r", reason="r")
        record_release(connection, row, 50.0)
        step = creation(scheduled("1.9"), PerformedProcedureStepStatus="DISCONTINUED")
        step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason("110514")]
        step.PerformedSeriesSequence = [series(["1.1"])]
        hold_images_of_step(connection, add_step(connection, "1.5", step, source="CR1", now=100.0))
        assert ledger.decision(connection, row)[0] == "hold"
        record_release(connection, row, 150.0)
        connection.execute(sa.update(instance).values(decision="accept"))
        hold_images_of_study(connection, 1)
        assert ledger.decision(connection, row)[0] == "accept"
    ledger.engine.dispose()


WRONG_ENTRY = "DISCONTINUED, 110514"


@pytest.mark.parametrize(
    ("states", "named", "came", "at_once"),
    [
        (["COMPLETED"], ["1.1", "1.2"], ["1.1", "1.2"], True),
        (["DISCONTINUED", "COMPLETED"], ["1.1", "1.2"], ["1.1", "1.2"], True),
        (["COMPLETED", "IN PROGRESS"], ["1.1", "1.2"], ["1.1", "1.2"], False),
        ([WRONG_ENTRY], ["1.1", "1.2"], ["1.1", "1.2"], False),
        ([WRONG_ENTRY, "COMPLETED"], ["1.1", "1.2"], ["1.1", "1.2"], True),  # the other one speaks of them
        ([], ["1.1"], ["1.1"], False),
        (["COMPLETED"], ["1.1", "1.2"], ["1.1"], False),  # one is lost
        (["COMPLETED"], ["1.1"], ["1.1", "1.2"], False),  # of one nobody speaks
    ],
)
def test_the_steps_say_when_a_study_is_complete(tmp_path, states, named, came, at_once):
    ledger = open_ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")
    settings = Settings(study=StudySettings(quiet_period=QUIET, longest_wait=2 * QUIET))
    with ledger.begin() as connection:
        for uid in came:
            row = ledger.add_arrival(
                connection,
                Arrival(
                    digest=uid,
                    source="CR1",
                    received_at=100.0,
                    study_instance_uid="1.9",
                    sop_instance_uid=uid,
                    file=uid,
                ),
            )
            ledger.decide(connection, row, decision="accept", rung="r", reason="r")
        for number, state in enumerate(states):
            # The dose report is of a class that is not received here.
            status = "DISCONTINUED" if state == WRONG_ENTRY else state
            step = creation(scheduled("1.9"), PerformedProcedureStepStatus=status)
            step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [
                reason("110514" if state == WRONG_ENTRY else "110513")
            ]
            step.PerformedSeriesSequence = [series(named, other=["1.77"])]
            add_step(connection, f"1.5.{number}", step, source="CR1", now=100.0)
        due = until_due(connection, 1, settings, 101.0)
    assert (due <= 0) == at_once
    assert at_once or due > QUIET - 2
    ledger.engine.dispose()


# -- worklist items, and the rules of PS3.4 F.7.2 as a model --


@contextmanager
def worklist_alone(url):
    """A worklist with its performed procedure steps, and a modality that is associated."""
    worklist = open_worklist(url)
    local = LocalEntity(ae_title="RIS", host="127.0.0.1", port=free_port())
    listener = Listener(local, [step_service(worklist)], lambda _: None)
    listener.start()
    peer = Peer(ae_title="RIS", host="127.0.0.1", port=local.port)
    try:
        with associate("CR1", peer, [build_context(ModalityPerformedProcedureStep)]) as association:
            yield worklist, association
    finally:
        listener.stop(5)
        worklist.engine.dispose()


def put(worklist, item):
    with worklist.begin() as connection:
        worklist.put(connection, [item], "test", 0.0)


def state_of(worklist, accession_number):
    with worklist.begin() as connection:
        (one,) = worklist.of_order(connection, accession_number=accession_number)
    return one.state


def create_on(association, uid, attributes):
    return association.send_n_create(attributes, ModalityPerformedProcedureStep, uid)[0].Status


def set_on(association, uid, modification):
    return association.send_n_set(modification, ModalityPerformedProcedureStep, uid)[0].Status


NUMBERS = count(1)
STATES = ("IN PROGRESS", "COMPLETED", "DISCONTINUED")


def of_creation(state, status):
    """What the standard says of an N-CREATE with `status`; `state` is that of the step, or None."""
    if not status:
        return 0x0121
    if status != "IN PROGRESS":
        return 0x0106
    return 0x0000 if state is None else 0x0111


def of_change(state, status, *, has_series, forbidden):
    """What the standard says of an N-SET with `status`, or without (None)."""
    if state is None:
        return 0x0112
    if state != "IN PROGRESS":
        return 0x0110
    if forbidden:
        return 0x0105
    if status == "SCHEDULED":
        return 0x0106
    return 0x0121 if status in STATES[1:] and not has_series else 0x0000


def item_of(states):
    """What becomes of an item with steps in `states`."""
    together = {"IN PROGRESS": "STARTED", "COMPLETED": "COMPLETED", "DISCONTINUED": "DISCONTINUED"}
    return next((item for state, item in together.items() if state in states), "SCHEDULED")


class Steps(RuleBasedStateMachine):
    """Three steps: two of one order, one that was not scheduled."""

    worklist = association = None  # given by a subclass

    def __init__(self):
        super().__init__()
        self.order = f"A{next(NUMBERS)}"
        self.study = f"1.2.3.{self.order[1:]}"
        dataset = worklist_dataset(self.order)
        dataset.StudyInstanceUID = self.study
        put(self.worklist, WorklistItem.of(dataset))
        self.model = {}
        self.with_series = set()
        self.in_error = set()  # with the reason that the wrong worklist entry was selected

    def uid(self, number):
        return f"{self.study}.{number}"

    @rule(number=st.integers(0, 2), status=st.sampled_from((*STATES, "SCHEDULED", "")))
    def create(self, number, status):
        order = {
            "accession": self.order,
            "step_id": f"S{self.order}",
            "procedure_id": f"R{self.order}",
        }
        of = scheduled(self.study, **(order if number < 2 else {}))
        attributes = creation(of, PerformedProcedureStepStatus=status)
        got = create_on(self.association, self.uid(number), attributes)
        assert got == of_creation(self.model.get(number), status)
        if got == 0:
            self.model[number] = status

    @rule(
        number=st.integers(0, 2),
        status=st.sampled_from((*STATES, "SCHEDULED", None)),
        has_series=st.booleans(),
        forbidden=st.booleans(),
        in_error=st.booleans(),
    )
    def change(self, number, status, has_series, forbidden, in_error):
        said = completion(["1.2.9"])
        said.PerformedProcedureStepDiscontinuationReasonCodeSequence = [
            reason("110514" if in_error else "110513")
        ]
        if not has_series:
            del said.PerformedSeriesSequence
        if forbidden:
            said.PatientID = "P2"
        if status is None:
            del said.PerformedProcedureStepStatus
        else:
            said.PerformedProcedureStepStatus = status
        got = set_on(self.association, self.uid(number), said)
        has_series = has_series or number in self.with_series
        state = self.model.get(number)
        assert got == of_change(state, status, has_series=has_series, forbidden=forbidden)
        if got == 0:
            self.model[number] = status or state
            (self.in_error.add if in_error else self.in_error.discard)(number)
            if has_series:
                self.with_series.add(number)

    @invariant()
    def the_item_follows(self):
        known = {number: self.model[number] for number in (0, 1) if number in self.model}
        mistaken = {n for n, state in known.items() if state == "DISCONTINUED" and n in self.in_error}
        of_item = [state for number, state in known.items() if number not in mistaken]
        assert state_of(self.worklist, self.order) == item_of(of_item)

    @invariant()
    def the_steps_are_kept(self):
        with self.worklist.begin() as connection:
            kept = {one.sop_instance_uid: one.state for one in steps_of_study(connection, self.study)}
        assert kept == {self.uid(number): state for number, state in self.model.items()}


def test_any_sequence_of_operations(tmp_path, on_both_databases):
    url = on_both_databases or f"sqlite:///{tmp_path / 'w.sqlite'}"
    with worklist_alone(url) as (worklist, association):
        bound = type("Bound", (Steps,), {"worklist": worklist, "association": association})
        run_state_machine_as_test(
            bound,
            settings=hypothesis_settings(max_examples=20, stateful_step_count=12, deadline=None),
        )


def of_order(accession_number):
    return scheduled(
        "1.2.3",
        accession=accession_number,
        step_id=f"S{accession_number}",
        procedure_id=f"R{accession_number}",
    )


def in_error():
    said = completion(["1.2.9"], status="DISCONTINUED")
    said.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason("110514")]
    return said


def test_an_item_that_was_selected_by_mistake_is_scheduled_again(tmp_path, on_both_databases):
    url = on_both_databases or f"sqlite:///{tmp_path / 'w.sqlite'}"
    with worklist_alone(url) as (worklist, association):
        put(worklist, WorklistItem.of(worklist_dataset("A1")))
        assert create_on(association, "1.2.50", creation(of_order("A1"))) == 0
        assert state_of(worklist, "A1") == "STARTED"
        assert set_on(association, "1.2.50", in_error()) == 0
        assert state_of(worklist, "A1") == "SCHEDULED"
        assert create_on(association, "1.2.51", creation(of_order("A1"))) == 0
        assert set_on(association, "1.2.51", completion(["1.2.9"])) == 0
        assert state_of(worklist, "A1") == "COMPLETED"


def test_an_item_that_comes_anew_forgets_the_steps_that_it_had(tmp_path, on_both_databases):
    url = on_both_databases or f"sqlite:///{tmp_path / 'w.sqlite'}"
    with worklist_alone(url) as (worklist, association):
        put(worklist, WorklistItem.of(worklist_dataset("A1")))
        assert create_on(association, "1.2.50", creation(of_order("A1"))) == 0
        assert set_on(association, "1.2.50", completion(["1.2.9"], status="DISCONTINUED")) == 0
        assert state_of(worklist, "A1") == "DISCONTINUED"
        put(worklist, WorklistItem.of(worklist_dataset("A1")))
        assert state_of(worklist, "A1") == "SCHEDULED"
        assert create_on(association, "1.2.51", creation(of_order("A1"))) == 0
        assert set_on(association, "1.2.51", in_error()) == 0
        assert state_of(worklist, "A1") == "SCHEDULED"


def test_which_item_a_step_is_of(tmp_path):
    """Two procedures of one order have a step each that is called alike; a cancelled one stays so."""
    with worklist_alone(f"sqlite:///{tmp_path / 'w.sqlite'}") as (worklist, association):
        for procedure, study in (("R1", "1.2.1"), ("R2", "1.2.2"), ("R3", "1.2.3")):
            dataset = worklist_dataset("A1")
            dataset.RequestedProcedureID, dataset.StudyInstanceUID = procedure, study
            put(worklist, WorklistItem.of(dataset))
        with worklist.begin() as connection:
            third = worklist.of_order(connection, study_uid="1.2.3")[0].id
            worklist.set_state(connection, third, StepState.CANCELLED, 1.0)
        # Grouped: the modality made a study of its own for the first two.
        of = [scheduled("1.2.99", accession="A1", step_id="SA1", procedure_id=one) for one in ("R2", "R3")]
        assert create_on(association, "1.2.50", creation(*of)) == 0
        with worklist.begin() as connection:
            states = {
                one.item.text("RequestedProcedureID"): one.state
                for one in worklist.of_order(connection, accession_number="A1")
            }
        assert states == {"R1": "SCHEDULED", "R2": "STARTED", "R3": "CANCELLED"}


def test_two_steps_of_an_item_begin_at_once(postgres_server, monkeypatch):
    worklist = open_worklist(postgres_server.new_database())
    put(worklist, WorklistItem.of(worklist_dataset("A1")))
    both, settle = Barrier(2, timeout=DEADLINE), performed._settle

    def together(*arguments):
        both.wait()
        settle(*arguments)

    monkeypatch.setattr(performed, "_settle", together)
    with worklist.begin() as connection:
        study = worklist.of_order(connection, accession_number="A1")[0].item.text("StudyInstanceUID")

    def begin_step(uid):
        step = creation(scheduled(study, accession="A1", step_id="SA1"))
        with worklist.begin() as connection:
            return add_step(connection, uid, step, source="CR1", now=1.0)

    with ThreadPoolExecutor(2) as pool:
        assert None not in list(pool.map(begin_step, ["1.2.50", "1.2.51"]))
    assert state_of(worklist, "A1") == "STARTED"
    worklist.engine.dispose()


def test_old_steps_are_forgotten(tmp_path):
    worklist = open_worklist(f"sqlite:///{tmp_path / 'w.sqlite'}")
    with worklist.begin() as connection:
        ids = [
            add_step(connection, f"1.2.{at}", creation(), source="CR1", now=float(at)) for at in (10, 20, 30)
        ]
        kept = sa.select(sa.literal("1.2.10"))
        assert forget_steps(connection, 20.0, kept) == 1
        assert [one.id for one in steps_of_study(connection, "1.2.3")] == [ids[0], ids[2]]
    worklist.engine.dispose()
