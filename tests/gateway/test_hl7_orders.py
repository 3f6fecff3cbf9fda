"""Orders by HL7: what a message changes, what it is answered, and what the listener endures."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from contextlib import contextmanager

import pytest
from hl7.client import MLLPClient
from hl7_orders import answered, connected, omi, orm, received, sent
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import eventually
from pydicom import Dataset

from cxr_pacs.gateway.order_intake import OrderIntake
from cxr_pacs.hl7v2.mllp import LARGEST, MllpListener, framed
from cxr_pacs.ordering import Hl7Settings
from cxr_pacs.worklist import Query, StepState, open_worklist
from cxr_pacs.worklist.listing import Wanted, listed


@contextmanager
def _intake(url, **hl7):
    worklist = open_worklist(url)
    try:
        yield OrderIntake(worklist=worklist, settings=Hl7Settings(**hl7), namespace=uuid.UUID(int=7))
    finally:
        worklist.engine.dispose()


@pytest.fixture
def intake(tmp_path):
    with _intake(f"sqlite:///{tmp_path / 'worklist.sqlite'}") as made:
        yield made


@pytest.fixture
def port(intake):
    listener = MllpListener("127.0.0.1", 0, intake.answer, 3)
    listener.start()
    yield listener.port
    listener.stop(10)


def _stored(intake):
    with intake.worklist.begin() as connection:
        return {one.item.step_id: one for one in listed(connection, Wanted())}


def _states(intake):
    return {step: one.state for step, one in _stored(intake).items()}


def _answer(intake, content):
    return answered(intake.answer(content))


def test_an_order_is_put_changed_and_cancelled(intake):
    assert _answer(intake, orm("1"))["MSA"] == ["MSA", "AA", "1"]
    first = _stored(intake)["S1"]
    assert first.origin == "hl7"
    assert first.item.text("StudyInstanceUID").startswith("2.25.")
    assert _answer(intake, orm("2", control="XO", name="Doe^Janet"))["MSA"][1] == "AA"
    changed = _stored(intake)["S1"]
    assert changed.item.text("PatientName") == "Doe^Janet"
    assert changed.item.text("StudyInstanceUID") == first.item.text("StudyInstanceUID")
    assert _answer(intake, orm("3", control="CA"))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": StepState.CANCELLED}
    assert _answer(intake, orm("4", control="NW"))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": StepState.SCHEDULED}


def test_an_imaging_order_of_several_steps_is_discontinued_as_a_whole(intake):
    assert _answer(intake, omi("1", steps=("1", "2")))["MSA"][1] == "AA"
    assert _answer(intake, omi("2", steps=("1", "2"), control="DC"))["MSA"][1] == "AA"
    assert set(_states(intake).values()) == {StepState.DISCONTINUED}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("IP", StepState.STARTED),
        ("CM", StepState.COMPLETED),
        ("DC", StepState.DISCONTINUED),
        ("CA", StepState.CANCELLED),
        ("A", StepState.SCHEDULED),
    ],
)
def test_a_status_brings_the_item_to_its_state(intake, status, state):
    intake.answer(orm("1"))
    assert _answer(intake, orm("2", control="SC", status=status))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": state}


def test_a_repeated_message_changes_nothing(intake):
    intake.answer(orm("1"))
    intake.answer(orm("2", control="CA"))
    assert _answer(intake, orm("1"))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": StepState.CANCELLED}


def test_a_sender_may_begin_its_control_ids_anew(intake, caplog):
    intake.answer(orm("1"))
    intake.answer(orm("2", control="CA"))
    for _ in range(2):
        assert _answer(intake, orm("1", order="2"))["MSA"][1] == "AA"
        assert set(_states(intake)) == {"S1", "S2"}
        intake.answer(orm("3", order="2", control="CA"))  # of which the repeated message knows nothing
    assert _states(intake)["S2"] == StepState.CANCELLED
    assert caplog.text.count("this one is taken as a new one") == 1
    assert _answer(intake, orm("1", control="NW"))["MSA"][1] == "AA"
    assert _states(intake)["S1"] == StepState.SCHEDULED
    assert "Doe" not in caplog.text


def _visible(intake):
    everything = Dataset()
    everything.ScheduledProcedureStepSequence = [Dataset()]
    return len(list(intake.worklist.find(Query.of(everything))))


@pytest.mark.parametrize("control", ["NW", "XO"])
def test_a_discontinued_order_that_comes_again_is_scheduled_anew(intake, control):
    intake.answer(orm("1"))
    intake.answer(orm("2", control="DC"))
    assert _visible(intake) == 0
    assert _answer(intake, orm("3", control=control))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": StepState.SCHEDULED}
    assert _visible(intake) == 1


def test_of_a_completed_step_no_new_order_is_taken_and_a_correction_is(intake):
    intake.answer(orm("1"))
    intake.answer(orm("2", control="SC", status="CM"))
    told = _answer(intake, orm("3", name="Doe^Janet"))
    assert told["MSA"][1:] == ["AE", "3", "ORC-1: the procedure step is COMPLETED, and stays so"]
    assert told["ERR"][1].startswith("ORC^1^1^206")
    assert _stored(intake)["S1"].item.text("PatientName") == "Doe^Jane"
    # As images are held against the order after their step, too.
    assert _answer(intake, orm("4", control="XO", name="Doe^Janet"))["MSA"][1] == "AA"
    assert _stored(intake)["S1"].item.text("PatientName") == "Doe^Janet"
    assert _states(intake) == {"S1": StepState.COMPLETED}


def _obr_of(message):
    return message[message.index(b"OBR|") :]


@pytest.mark.parametrize(
    ("content", "answer", "error"),
    [
        (orm("9", control="CA"), "AE", "OBR^1^18^204&Unknown key identifier&HL70357"),
        (orm("9", control="QQ"), "AE", "ORC^1^1^103&Table value not found&HL70357"),
        (orm("9").replace(b"|A1|R1|S1|", b"|A1|||"), "AE", "OBR^1^19^101&Required field missing&HL70357"),
        (orm("9").replace(b"|A1|R1|", b"||R1|"), "AE", "OBR^1^18^101&Required field missing&HL70357"),
        (orm("9", start="99991231235959-1200"), "AE", "ORC^1^7^102&Data type error&HL70357"),
        (orm("9", start="20261124093000+9960"), "AE", "ORC^1^7^102&Data type error&HL70357"),
        (orm("9") + _obr_of(orm("9")), "AE", "OBR^2^20^205&Duplicate key identifier&HL70357"),
        (orm("9").replace(b"|P1^", b"|^"), "AE", "PID^1^3^101&Required field missing&HL70357"),
        (orm("9").replace(b"|DX|", b"|dx|"), "AE", "OBR^1^24^102&Data type error&HL70357"),
        (orm("9", study="1.2.x"), "AE", "ZDS^1^1^102&Data type error&HL70357"),
        (orm("9").replace(b"ORM^O01", b"ADT^A01"), "AR", "MSH^1^9^200&Unsupported message type&HL70357"),
        (orm("9").replace(b"ORM^O01", b"ORM^O02"), "AR", "MSH^1^9^201&Unsupported event code&HL70357"),
        (orm("9").replace(b"|2.3.1|", b"|3.0|"), "AR", None),
        (orm("").replace(b"|P|", b"|P|"), "AR", "MSH^1^10^101&Required field missing&HL70357"),
    ],
)
def test_what_is_not_taken_is_named_and_changes_nothing(intake, caplog, content, answer, error):
    caplog.set_level(logging.DEBUG)
    told = _answer(intake, content)
    assert told["MSA"][1] == answer
    if error is not None:
        assert told["ERR"] == ["ERR", error]
    assert _states(intake) == {}
    said = f"{told}{caplog.text}"
    assert "Doe" not in said
    assert "A1" not in said
    assert "+9960" not in said
    # The same message is taken once what was wrong is mended elsewhere: nothing is remembered of it.
    assert _answer(intake, orm("9"))["MSA"][1] == "AA"


def test_from_version_2_5_on_the_fault_has_fields_of_its_own(intake):
    told = _answer(intake, omi("1", control="CA"))
    assert told["ERR"][2:5] == ["IPC^1^1", "204^Unknown key identifier^HL70357", "E"]
    assert told["MSA"][3] == told["ERR"][8] == "IPC-1: no such order is known"
    assert told["MSH"][8] == "ACK^O23"


def test_an_order_whose_step_has_begun_or_ended_is_not_cancelled(intake):
    intake.answer(orm("1"))
    intake.answer(orm("2", control="SC", status="IP"))
    told = _answer(intake, orm("3", control="CA"))
    assert told["MSA"][1:] == ["AE", "3", "ORC-1: the procedure step is STARTED, and stays so"]
    intake.answer(orm("4", control="SC", status="CM"))
    assert _answer(intake, orm("5", control="DC"))["MSA"][1] == "AE"
    assert _states(intake) == {"S1": StepState.COMPLETED}


def test_an_order_of_another_patient_is_not_cancelled(intake):
    intake.answer(orm("1"))
    told = _answer(intake, orm("2", control="CA").replace(b"|P1^", b"|P2^"))
    assert told["ERR"] == ["ERR", "PID^1^3^204&Unknown key identifier&HL70357"]
    assert _states(intake) == {"S1": StepState.SCHEDULED}


def test_an_order_goes_to_another_patient_only_after_it_was_cancelled(intake):
    intake.answer(orm("1"))
    moved = orm("2", control="XO", name="Roe^Eva").replace(b"|P1^", b"|P2^")
    elsewhere = orm("3").replace(b"^HOSPITAL^PI|", b"^CLINIC^PI|")
    for message in (moved, elsewhere):
        told = _answer(intake, message)
        assert told["ERR"] == ["ERR", "PID^1^3^204&Unknown key identifier&HL70357"]
    assert _stored(intake)["S1"].item.text("PatientName") == "Doe^Jane"
    intake.answer(orm("4", control="CA"))
    assert _answer(intake, moved)["MSA"][1] == "AA"
    assert _stored(intake)["S1"].item.text("PatientID") == "P2"


def test_a_message_whose_segments_end_as_lines_is_told_from_another(intake):
    first, second = (orm("1", order=order).replace(b"\r", b"\n") for order in "12")
    told = intake.answer(first)
    assert answered(told)["MSA"] == ["MSA", "AA", "1"]
    assert b"\n" not in told
    intake.answer(orm("2", control="CA"))
    assert _answer(intake, orm("1"))["MSA"][1] == "AA"
    assert _states(intake) == {"S1": StepState.CANCELLED}  # the first again
    assert _answer(intake, second)["MSA"][1] == "AA"
    assert set(_states(intake)) == {"S1", "S2"}


def test_of_several_orders_in_a_message_all_are_taken_or_none(intake):
    two = orm("1") + orm("x", order="2", control="CA").partition(b"\rORC")[2].join([b"ORC", b""])
    assert _answer(intake, two)["MSA"][1] == "AE"
    assert _states(intake) == {}


def test_a_station_is_found_by_modality(tmp_path):
    with _intake(f"sqlite:///{tmp_path / 'w.sqlite'}", station_of={"DX": "ROOM1"}) as intake:
        assert _answer(intake, orm("1").replace(b"|DX1|", b"||"))["MSA"][1] == "AA"
        assert _stored(intake)["S1"].item.stations == ("ROOM1",)


def test_without_a_database_the_sender_is_told_to_send_again(intake, monkeypatch):
    intake.worklist.engine.dispose()
    monkeypatch.setattr(intake.worklist, "engine", open_worklist("sqlite://").engine)
    with intake.worklist.begin() as connection:
        connection.exec_driver_sql("DROP TABLE worklist_message")
    assert _answer(intake, orm("1"))["MSA"] == [
        "MSA",
        "AR",
        "1",
        "The worklist takes none now: send it again later",
    ]
    intake.worklist.engine.dispose()


@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.tuples(st.sampled_from(["NW", "XO", "CA"]), st.sampled_from("123")), max_size=12))
def test_the_worklist_is_as_the_last_word_about_each_order(words):
    last: dict[str, tuple[str, str]] = {}
    with _intake("sqlite://") as intake:
        for number, (control, order) in enumerate(words):
            name = f"Doe^N{number}"
            told = _answer(intake, orm(str(number), control=control, order=order, name=name))
            assert told["MSA"][1] == ("AE" if control == "CA" and order not in last else "AA")
            if told["MSA"][1] == "AA":
                last[order] = (control, last[order][1] if control == "CA" else name)
        stored = _stored(intake)
    assert set(stored) == {f"S{order}" for order in last}
    for order, (control, name) in last.items():
        assert stored[f"S{order}"].state == ("CANCELLED" if control == "CA" else "SCHEDULED")
        assert stored[f"S{order}"].item.text("PatientName") == name


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_message_broken_off_anywhere_is_answered(data):
    whole = data.draw(st.sampled_from([orm("1", study="1.2.3"), omi("1")]))
    cut = data.draw(st.integers(0, len(whole)))
    with _intake("sqlite://") as intake:
        told = _answer(intake, whole[:cut])
        assert told["MSA"][1] in {"AA", "AE", "AR"}
        assert (told["MSA"][1] == "AA") == bool(_stored(intake))


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=200), at=st.integers(0, 400))
def test_any_bytes_are_answered(content, at):
    whole = orm("1")
    with _intake("sqlite://") as intake:
        for one in (content, b"MSH|^~\\&|" + content, whole[:at] + content + whole[at:]):
            assert _answer(intake, one)["MSA"][1] in {"AA", "AE", "AR"}


def test_the_packages_own_client_is_answered(intake, port):
    with MLLPClient("127.0.0.1", port) as client:
        for number, order in enumerate("123"):
            told = answered(client.send_message(orm(str(number), order=order))[1:-2])
            assert told["MSA"] == ["MSA", "AA", str(number)]
    assert set(_states(intake)) == {"S1", "S2", "S3"}


def test_messages_come_in_one_piece_or_byte_by_byte(intake, port):
    with connected(port) as connection:
        connection.sendall(b"\r\n\x1c\r" + framed(orm("1")) + framed(orm("2", order="2")))
        assert [received(connection)["MSA"][2] for _ in range(2)] == ["1", "2"]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(orm("3", order="3")):
            connection.sendall(bytes([byte]))
        assert received(connection)["MSA"][1:] == ["AA", "3"]
        # A message that is begun anew, as by a sender that gave the first one up.
        assert sent(connection, orm("4", order="4")[:100] + b"\x0b" + orm("5", order="5"))["MSA"][1:] == [
            "AA",
            "5",
        ]
    assert set(_states(intake)) == {"S1", "S2", "S3", "S5"}


def test_a_peer_that_vanishes_within_a_message_changes_nothing_and_others_go_on(intake, port, caplog):
    caplog.set_level(logging.INFO, logger="cxr_pacs")
    with connected(port) as gone:
        gone.sendall(framed(orm("1"))[:-20])
        with connected(port) as connection:
            assert sent(connection, orm("2", order="2"))["MSA"][1] == "AA"
    eventually(lambda: "ended within a message" in caplog.text)
    assert set(_states(intake)) == {"S2"}


def test_a_message_too_long_is_answered_and_its_connection_closed(port):
    with connected(port) as connection:
        told = sent(connection, orm("1") + b"NTE|1||" + b"x" * 20 * LARGEST)
        assert told["MSA"][1:] == ["AR", "1", f"The message has more than {LARGEST} bytes"]
        assert received(connection) == {}
    with connected(port) as connection:
        assert sent(connection, orm("2"))["MSA"][1] == "AA"


def test_connections_beyond_the_limit_are_closed_and_those_before_answered(intake, port):
    with connected(port) as first, connected(port) as second, connected(port) as third:
        orders = {"1": first, "2": second, "3": third}
        assert all(sent(peer, orm(order, order=order))["MSA"][1] == "AA" for order, peer in orders.items())
        with connected(port) as fourth:
            assert fourth.recv(1) == b""
    answers: list[str] = []

    def many(peer):
        with connected(port) as connection:
            for number in range(10):
                name = f"{peer}{number}"
                answers.append(sent(connection, orm(name, order=name))["MSA"][1])

    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "mllp-peer"])
    threads = [threading.Thread(target=many, args=(peer,)) for peer in "789"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["AA"] * 30
    assert len(_states(intake)) == 33
