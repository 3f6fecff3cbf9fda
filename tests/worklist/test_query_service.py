"""The worklist on the network: DCMTK, pynetdicom and our own user ask our provider."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from peers import associated, dcmtk, eventually
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pynetdicom.sop_class import ModalityWorklistInformationFind
from worklist_servers import OurWorklist

from cxr_pacs import dimse
from cxr_pacs.cli import main
from cxr_pacs.dimse import associations
from cxr_pacs.errors import RetrievalRefused
from cxr_pacs.worklist import StepState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = "ScheduledProcedureStepSequence"
MANY, WORDY = 60, 400
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NAMES = {
    "latin": "Müller^Jürgen",
    "japanese": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "korean": "Hong^Gildong=洪^吉洞=홍^길동",
    "chinese": "Zhang^XiaoDong=张^小东",
}


def item(number: int, name: str = "Doe^John") -> Dataset:
    order, step = Dataset(), Dataset()
    order.SpecificCharacterSet = "ISO_IR 192"
    order.AccessionNumber = f"A{number:03}"
    order.PatientName = name
    order.PatientID = f"P{number}"
    order.StudyInstanceUID = f"1.2.3.{number}"
    order.RequestedProcedureID = "R1"
    step.ScheduledStationAETitle = "DX1"
    step.ScheduledProcedureStepStartDate = "20260101"
    step.ScheduledProcedureStepStartTime = f"{8 + number % 12:02}00"
    step.Modality = "DX"
    step.ScheduledProcedureStepID = f"S{number}"
    setattr(order, STEPS, [step])
    return order


def asking(step_keys: dict[str, Any] | None = None, **keys: Any) -> Dataset:
    """An identifier; values are taken as they are, whatever they are."""
    asked, step = Dataset(), Dataset()
    for where, given in ((asked, {"AccessionNumber": "", **keys}), (step, step_keys or {})):
        for keyword, value in given.items():
            tag = Tag(keyword)
            where.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    setattr(asked, STEPS, [step])
    return asked


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Iterator[OurWorklist]:
    with OurWorklist(tmp_path_factory.mktemp("worklist"), most_answers=50) as server:
        names = [item(100 + n, name) for n, name in enumerate(NAMES.values())]
        server.hold([*(item(number) for number in range(MANY)), *names])
        yield server


def found(
    server: OurWorklist, asked: Dataset, syntax: str = EXPLICIT
) -> tuple[Dataset, list[tuple[int, Dataset]]]:
    """The final status, and each pending status with its answer."""
    context = [(ModalityWorklistInformationFind, syntax)]
    pending = []
    with associated(server.port, context, called=server.ae_title) as association:
        for status, answer in association.send_c_find(asked, ModalityWorklistInformationFind):
            if status.Status not in {0xFF00, 0xFF01}:
                return status, pending
            pending.append((status.Status, answer))
    raise AssertionError("no final status")


def numbers(pending: list[tuple[int, Dataset]]) -> set[str]:
    return {str(answer.AccessionNumber) for _, answer in pending}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_only_what_is_asked_comes_back(ours, syntax):
    status, pending = found(
        ours, asking({"Modality": "DX", "ScheduledStationName": ""}, PatientID="P7"), syntax
    )
    assert status.Status == 0x0000
    ((code, answer),) = pending
    assert code == 0xFF00
    assert {element.keyword for element in answer} == {"AccessionNumber", "PatientID", STEPS}
    (step,) = answer[STEPS]
    assert {element.keyword: element.value for element in step} == {
        "Modality": "DX",
        "ScheduledStationName": "",
    }


def test_dcmtk_asks(ours, tmp_path):
    keys = [
        "-k",
        "PatientID=P7",
        "-k",
        f"{STEPS}[0].Modality=DX",
        "-k",
        "PatientName",
        "-k",
        f"{STEPS}[0].ScheduledProcedureStepID",
    ]
    done = dcmtk(
        "findscu", "-W", "-v", "-X", "-od", tmp_path, "-aec", ours.ae_title, *keys, "127.0.0.1", ours.port
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    answer = dcmread(file)
    assert (answer.PatientName, answer[STEPS][0].ScheduledProcedureStepID) == ("Doe^John", "S7")


def test_dcmtk_cancels(ours):
    done = dcmtk(
        "findscu",
        "-W",
        "-v",
        "--cancel",
        2,
        "-aec",
        ours.ae_title,
        "-k",
        f"{STEPS}[0].Modality=DX",
        "127.0.0.1",
        ours.port,
    )
    assert "Cancel: MatchingTerminatedDueToCancelRequest" in done.stdout + done.stderr


def test_a_limit_is_told(ours):
    status, pending = found(ours, asking())
    assert (status.Status, len(pending)) == (0xA700, 50)
    assert "50 items" in status.ErrorComment
    assert not dimse.find_worklist("US", ours.peer, asking(), limit=0).complete


def test_we_stop_after_so_many(ours):
    answers = dimse.find_worklist("US", ours.peer, asking(), limit=3)
    assert (len(answers.items), answers.complete) == (3, False)


def test_keys_that_are_not_supported_are_told_and_not_returned(ours):
    status, pending = found(ours, asking(PatientID="P7", SeriesInstanceUID="1.2"))
    assert status.Status == 0x0000
    ((code, answer),) = pending
    assert code == 0xFF01
    assert "SeriesInstanceUID" not in answer


def test_what_is_over_is_not_answered(ours):
    asked = asking({"ScheduledProcedureStepStatus": ""}, AccessionNumber="A059")
    with ours.worklist.begin() as connection:
        (stored,) = ours.worklist.of_order(connection, accession_number="A059")
        ours.worklist.set_state(connection, stored.id, StepState.STARTED, 1.0)
    ((_, answer),) = found(ours, asked)[1]
    assert answer[STEPS][0].ScheduledProcedureStepStatus == "STARTED"
    with ours.worklist.begin() as connection:
        ours.worklist.set_state(connection, stored.id, StepState.COMPLETED, 1.0)
    assert found(ours, asked)[1] == []


def test_the_state_that_a_source_gives_is_asked_for(tmp_path):
    held = [item(number) for number in range(4)]
    for one, state in zip(held, ("", "SCHEDULED", "ARRIVED", "READY"), strict=True):
        one[STEPS][0].ScheduledProcedureStepStatus = state
    with OurWorklist(tmp_path) as server:
        server.hold(held)
        for state, known in (("SCHEDULED", {"A000", "A001"}), ("ARRIVED", {"A002"}), ("READY", {"A003"})):
            _, pending = found(server, asking({"ScheduledProcedureStepStatus": state}))
            assert numbers(pending) == known
            assert {answer[STEPS][0].ScheduledProcedureStepStatus for _, answer in pending} == {state}


@pytest.mark.parametrize(
    ("sets", "wanted", "who"),
    [
        ("ISO_IR 100", "müller*", "A100"),
        ("ISO_IR 192", "=山田*", "A101"),
        ("ISO_IR 192", "山田^太郎", "A101"),
        (["ISO 2022 IR 6", "ISO 2022 IR 87"], "=山田^太郎", "A101"),
        (["", "ISO 2022 IR 149"], "==홍*", "A102"),
        ("GB18030", "=张*", "A103"),
        ("ISO_IR 192", "=Yamada*", None),
    ],
    ids=str,
)
def test_a_name_in_its_character_set(ours, sets, wanted, who):
    status, pending = found(ours, asking(SpecificCharacterSet=sets, PatientName=wanted))
    assert status.Status == 0x0000
    assert numbers(pending) == ({who} if who else set())
    for _, answer in pending:
        # In the query's own set: it holds what was asked in it.
        assert answer.SpecificCharacterSet == sets
        assert str(answer.PatientName) == list(NAMES.values())[int(who[1:]) - 100]


@pytest.mark.parametrize(
    ("asked_in", "number", "answered_in"),
    [
        (None, 7, None),
        (None, 100, "ISO_IR 100"),
        ("ISO_IR 100", 101, "ISO_IR 192"),
        ("ISO_IR 144", 100, "ISO_IR 100"),
    ],
)
def test_another_set_only_where_the_asked_one_cannot_hold_it(ours, asked_in, number, answered_in):
    asked = asking(AccessionNumber=f"A{number:03}", PatientName="")
    if asked_in:
        asked.SpecificCharacterSet = asked_in
    ((_, answer),) = found(ours, asked)[1]
    assert answer.get("SpecificCharacterSet") == answered_in
    assert str(answer.PatientName) in {"Doe^John", *NAMES.values()}


def test_fuzzy_names_by_negotiation_only(ours):
    asked = asking(PatientName="jurgen mueler")
    assert dimse.find_worklist("US", ours.peer, asked, limit=0).items == ()
    (answer,) = dimse.find_worklist("US", ours.peer, asked, limit=0, fuzzy=True).items
    assert answer.AccessionNumber == "A100"


def without_steps() -> Dataset:
    asked = asking()
    del asked[STEPS]
    return asked


def with_two() -> Dataset:
    asked = asking()
    asked[STEPS].value.append(Dataset())
    return asked


BAD = {
    "no step": (without_steps(), 0xA900, STEPS),
    "two steps": (with_two(), 0xA900, STEPS),
    "wildcard in a date": (asking({"ScheduledProcedureStepStartDate": "202601*"}), 0xA900, "StartDate"),
    "wildcard in a UID": (asking(StudyInstanceUID="1.2.*"), 0xA900, "StudyInstanceUID"),
    "range without ends": (asking({"ScheduledProcedureStepStartDate": "-"}), 0xA900, "StartDate"),
    "range backwards": (
        asking({"ScheduledProcedureStepStartDate": "20260102-20260101"}),
        0xA900,
        "StartDate",
    ),
    "birth dates backwards": (asking(PatientBirthDate="20260102-20260101"), 0xA900, "PatientBirthDate"),
    "no such day": (asking({"ScheduledProcedureStepStartDate": "20260231"}), 0xA900, "StartDate"),
    "no such time": (asking({"ScheduledProcedureStepStartTime": "2561"}), 0xA900, "StartTime"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_query_is_told_why_and_the_server_goes_on(ours, name, caplog):
    asked, status, keyword = BAD[name]
    answer, pending = found(ours, asked)
    assert (answer.Status, pending) == (status, [])
    assert keyword in answer.ErrorComment
    assert answer.OffendingElement
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("cxr_pacs")]
    assert len(lines) == 1
    assert keyword in lines[0]
    with pytest.raises(RetrievalRefused, match=f"{status:04X}"):
        dimse.find_worklist("US", ours.peer, asked, limit=0)
    assert numbers(found(ours, asking(PatientID="P7"))[1]) == {"A007"}


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_an_unknown_character_set(ours, caplog):
    keys = ["-k", "SpecificCharacterSet=ISO_IR 999", "-k", f"{STEPS}[0].Modality=DX"]
    done = dcmtk("findscu", "-W", "-v", "-aec", ours.ae_title, *keys, "127.0.0.1", ours.port)
    assert "Failed: UnableToProcess" in done.stdout + done.stderr
    assert "SpecificCharacterSet (0008,0005) is not a character set" in caplog.text


def test_bytes_that_are_not_of_their_character_set(ours):
    asked = asking(SpecificCharacterSet="ISO_IR 192", PatientName=b"M\xfcller*")
    assert found(ours, asked)[0].Status == 0xC000


@pytest.fixture(scope="module")
def wordy(tmp_path_factory) -> Iterator[OurWorklist]:
    """More to answer than all buffers between two peers hold; it waits two seconds for the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(associations, "NETWORK_SECONDS", 2.0)
        with OurWorklist(tmp_path_factory.mktemp("wordy"), most_answers=0) as server:
            items = [item(number) for number in range(WORDY)]
            for one in items:
                one.PatientComments = one.VisitComments = "word " * 2000
            server.hold(items)
            yield server


def told_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("cxr_pacs")]


def test_a_peer_that_vanishes_in_mid_answer(wordy, caplog):
    context = [(ModalityWorklistInformationFind, EXPLICIT)]
    asked = asking(PatientComments="", VisitComments="")
    with associated(wordy.port, context, called=wordy.ae_title) as association:
        next(association.send_c_find(asked, ModalityWorklistInformationFind))
        association.dul.socket.socket.close()
    eventually(lambda: not wordy.associations, timeout=20)
    (line,) = told_of(caplog)
    assert "MODALITY went away during its worklist query, after " in line
    assert numbers(found(wordy, asking(PatientID="P7"))[1]) == {"A007"}


def test_a_peer_that_stops_reading_loses_its_association(wordy, caplog):
    keys = ["-k", "PatientComments", "-k", "VisitComments", "-k", f"{STEPS}[0].Modality=DX"]
    command = [
        "findscu",
        "-W",
        "-aet",
        "STOPPED",
        "-aec",
        wordy.ae_title,
        *keys,
        "127.0.0.1",
        str(wordy.port),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as peer:
        assert peer.stdout is not None
        assert any(b"Find Response" in line for line in peer.stdout)
        peer.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: not wordy.associations, timeout=30)
        finally:
            peer.kill()
    (line,) = told_of(caplog)
    assert "STOPPED went away during its worklist query, after " in line


def test_a_peer_that_stops_in_mid_message_loses_its_association(wordy):
    context = [(ModalityWorklistInformationFind, EXPLICIT)]
    with associated(wordy.port, context, called=wordy.ae_title) as association:
        association.dul.socket.socket.sendall(b"\x04\0\0\0\x10\0" + b"half of it")  # P-DATA-TF, 4096 bytes
        eventually(lambda: not wordy.associations, timeout=30)
        eventually(lambda: not association.is_alive(), timeout=20)


def command(capsys, ours: OurWorklist, *arguments: str) -> tuple[int, str]:
    code = main(["worklist", "query", str(ours.peer), *arguments])
    return code, capsys.readouterr().out


def test_the_command_prints_a_table(ours, capsys):
    code, printed = command(capsys, ours, "-m", f"{STEPS}.Modality=DX", "-m", "PatientID=P7")
    assert code == 0
    assert "A007" in printed
    assert "1 answers" in printed


def test_the_command_prints_json_and_writes_files(ours, capsys, tmp_path: Path):
    asked = ("-m", "PatientID=P7", "-r", "PatientName")
    (answer,) = json.loads(command(capsys, ours, *asked, "--json")[1])
    assert answer["00100010"]["Value"][0]["Alphabetic"] == "Doe^John"
    assert command(capsys, ours, *asked, "--out", str(tmp_path))[0] == 0
    assert dcmread(next(tmp_path.iterdir())).PatientID == "P7"


def test_served_alone_without_a_model(tmp_path: Path):
    probe = (
        "import sys, cxr_pacs.cli.worklist.serve\n"
        "assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
