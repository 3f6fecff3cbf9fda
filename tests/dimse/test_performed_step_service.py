"""The performed procedure step service: our SCU, our SCP and plain pynetdicom peers, on real sockets."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
from peers import free_port
from performed_steps import StepManager, completion, creation, reference, scheduled, series
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from cxr_pacs.dimse import Listener, LocalEntity, Peer, create_step, performed_step_service, set_step
from cxr_pacs.dimse.mpps_attributes import changed
from cxr_pacs.errors import DestinationUnavailable, RefusedOperation, SpoolUnavailable


class Kept:
    def __init__(self):
        self.steps = {}
        self.fails = None

    def create(self, uid, attributes, _title):
        if self.fails:
            raise self.fails
        if uid in self.steps:
            return False
        self.steps[uid] = attributes
        return True

    def change(self, uid, modification):
        if uid not in self.steps:
            return False
        self.steps[uid] = changed(self.steps[uid], modification)
        self.modification = modification
        return True


@contextmanager
def serving(kept):
    local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=free_port())
    listener = Listener(local, [performed_step_service(kept)], lambda _: None)
    listener.start()
    try:
        yield Peer(ae_title="CXRPACS", host="127.0.0.1", port=local.port)
    finally:
        listener.stop(5)


@pytest.fixture(scope="module")
def kept():
    return Kept()


@pytest.fixture(scope="module")
def peer(kept):
    with serving(kept) as peer:
        yield peer


@pytest.fixture(scope="module")
def modality(peer):
    """A plain pynetdicom modality, associated."""
    ae = AE(ae_title="CR1")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate(peer.host, peer.port, ae_title=peer.ae_title)
    assert association.is_established
    yield association
    association.release()


@pytest.fixture(autouse=True)
def _forget(kept):
    kept.steps.clear()
    kept.fails = None


def create(modality, attributes, uid="1.2.77"):
    return modality.send_n_create(attributes, ModalityPerformedProcedureStep, uid)[0]


def change(modality, modification, uid="1.2.77"):
    return modality.send_n_set(modification, ModalityPerformedProcedureStep, uid)[0]


def test_a_step_from_beginning_to_end(kept, modality):
    assert create(modality, creation()).Status == 0x0000
    assert change(modality, completion(["1.2.9"])).Status == 0x0000
    step = kept.steps["1.2.77"]
    assert step.PerformedProcedureStepStatus == "COMPLETED"
    assert str(step.PatientName) == "Möller^Ann"
    assert step.PerformedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.9"
    again = change(modality, completion())
    assert (again.Status, again.ErrorID) == (0x0110, 0xA710)
    assert again.ErrorComment == "Performed Procedure Step Object may no longer be updated"


def test_a_modality_that_gives_no_uid_is_told_which_one_it_got(kept, modality):
    told = []

    def hear(event):
        told.append(str(event.message.command_set.AffectedSOPInstanceUID))

    modality.bind(evt.EVT_DIMSE_RECV, hear)
    try:
        for _ in range(2):
            assert create(modality, creation(), None).Status == 0x0000
    finally:
        modality.unbind(evt.EVT_DIMSE_RECV, hear)
    assert len(set(told)) == 2
    assert told == list(kept.steps)
    assert change(modality, completion(), told[0]).Status == 0x0000


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "SCHEDULED"])
def test_a_step_begins_in_progress(kept, modality, status):
    assert create(modality, creation(PerformedProcedureStepStatus=status)).Status == 0x0106
    assert kept.steps == {}


def test_a_second_step_of_a_uid(modality):
    assert create(modality, creation()).Status == 0x0000
    assert create(modality, creation()).Status == 0x0111


def without(keyword, *, of="root"):
    made = creation(scheduled(), PerformedSeriesSequence=[series(["1.2.9"])])
    where = {
        "root": made,
        "scheduled": made.ScheduledStepAttributesSequence[0],
        "series": made.PerformedSeriesSequence[0],
        "image": made.PerformedSeriesSequence[0].ReferencedImageSequence[0],
    }[of]
    del where[keyword]
    return made


@pytest.mark.parametrize(
    ("attributes", "status", "named"),
    [
        (without("PerformedStationAETitle"), 0x0120, "PerformedStationAETitle"),
        (without("PatientName"), 0x0120, "PatientName"),
        (without("AccessionNumber", of="scheduled"), 0x0120, "AccessionNumber"),
        (without("ProtocolName", of="series"), 0x0120, "ProtocolName"),
        (without("ReferencedSOPClassUID", of="image"), 0x0120, "ReferencedSOPClassUID"),
        (creation(Modality=""), 0x0121, "Modality"),
        (creation(ScheduledStepAttributesSequence=[]), 0x0121, "ScheduledStepAttributesSequence"),
        (creation(scheduled("")), 0x0121, "StudyInstanceUID"),
        (creation(PerformedSeriesSequence=[series([""])]), 0x0121, "ReferencedSOPInstanceUID"),
    ],
)
def test_what_a_step_must_have(kept, modality, attributes, status, named):
    answer = create(modality, attributes)
    assert answer.Status == status
    assert named in answer.ErrorComment
    assert kept.steps == {}


@pytest.mark.parametrize(
    ("modification", "status"),
    [
        (completion(PatientName="Other^Name"), 0x0105),
        (completion(ScheduledStepAttributesSequence=[scheduled()]), 0x0105),
        (completion(CommentsOnThePerformedProcedureStep="not created"), 0x0105),
        (completion(PerformedProcedureStepStatus="STOPPED"), 0x0106),
        (completion(PerformedProcedureStepStatus=""), 0x0106),
        (completion(PerformedSeriesSequence=[]), 0x0121),
        (completion(PerformedProcedureStepEndTime=""), 0x0121),
        (completion([""]), 0x0121),
        (completion(status="DISCONTINUED", PerformedSeriesSequence=[]), 0x0121),
    ],
)
def test_what_may_not_be_set(kept, modality, modification, status):
    assert create(modality, creation()).Status == 0x0000
    before = copy.deepcopy(kept.steps["1.2.77"])
    answer = change(modality, modification)
    assert answer.Status == status
    assert answer.AttributeIdentifierList
    assert "Other" not in str(answer.get("ErrorComment"))
    assert kept.steps["1.2.77"] == before


def test_what_the_final_state_needs_may_have_come_before(kept, modality):
    assert create(modality, creation()).Status == 0x0000
    first = completion(["1.2.9"], status="IN PROGRESS")
    assert change(modality, first).Status == 0x0000
    last = completion()
    for keyword in ("PerformedSeriesSequence", "PerformedProcedureStepEndDate"):
        del last[keyword]
    assert change(modality, last).Status == 0x0000
    assert kept.steps["1.2.77"].PerformedSeriesSequence[0].ReferencedImageSequence == [reference("1.2.9")]


def test_a_step_that_nobody_created(modality):
    assert change(modality, completion()).Status == 0x0112


def raw(keyword, text):
    """An element with these bytes, whatever the character set."""
    tag = tag_for_keyword(keyword)
    text += b" " * (len(text) % 2)
    return RawDataElement(Tag(tag), dictionary_VR(tag), len(text), text, 0, False, True)


@pytest.mark.parametrize(
    ("known", "character_set", "encoding"),
    [
        ("ISO_IR 100", None, "latin_1"),  # that of the N-CREATE holds (F.7.2.2.1)
        ("ISO_IR 192", None, "utf_8"),
        ("ISO_IR 144", None, "iso8859_5"),
        ("ISO_IR 100", "ISO_IR 100", "latin_1"),
        ("ISO_IR 100", "ISO_IR 192", "utf_8"),
        ("ISO_IR 192", "ISO_IR 100", "latin_1"),
    ],
)
def test_text_of_an_n_set(kept, modality, known, character_set, encoding):
    word = "Жук" if known == "ISO_IR 144" else "Größe"
    create(modality, creation(SpecificCharacterSet=known, PatientName=f"{word}^Ann"))
    said = completion()
    (item,) = said.PerformedSeriesSequence
    for dataset, keyword in (
        (said, "PerformedProcedureStepDescription"),
        (item, "OperatorsName"),
        (item, "ProtocolName"),
    ):
        if character_set:
            setattr(dataset, keyword, word)
        else:
            element = raw(keyword, word.encode(encoding))
            dataset[element.tag] = element
    if character_set:
        said.SpecificCharacterSet = character_set
    assert change(modality, said).Status == 0x0000
    step = kept.steps["1.2.77"]
    assert str(step.PatientName) == f"{word}^Ann"
    assert step.PerformedProcedureStepDescription.rstrip() == word
    assert str(step.PerformedSeriesSequence[0].OperatorsName).rstrip() == word
    assert step.PerformedSeriesSequence[0].ProtocolName.rstrip() == word
    # What is sent on has the bytes that came.
    assert word.encode(encoding) in encode(kept.modification, is_implicit_vr=True, is_little_endian=True)


@pytest.mark.filterwarnings("ignore:Failed to decode byte string")
def test_text_that_is_not_in_its_character_set(kept, modality, monkeypatch):
    def wrong(*arguments, **kwargs):
        return encode(*arguments, **kwargs).replace(b"ISO_IR 100", b"ISO_IR 192")

    with monkeypatch.context() as of_modality:
        of_modality.setattr("pynetdicom.association.encode", wrong)
        answer = create(modality, creation(PatientName="Größe^Ann"))
    assert answer.Status == 0x0106
    assert "PatientName" in answer.ErrorComment
    assert kept.steps == {}
    create(modality, creation(SpecificCharacterSet="ISO_IR 192"))
    said = completion()
    text = raw("PerformedProcedureStepDescription", "Größe".encode("latin_1"))
    said[text.tag] = text
    answer = change(modality, said)
    assert (answer.Status, answer.AttributeIdentifierList) == (0x0106, text.tag)


@pytest.mark.parametrize(("fails", "status"), [(SpoolUnavailable("full"), 0x0213), (KeyError("P^N"), 0x0110)])
def test_a_step_that_cannot_be_kept(kept, modality, caplog, fails, status):
    kept.fails = fails
    assert create(modality, creation()).Status == status
    assert "P^N" not in caplog.text
    kept.fails = None
    assert create(modality, creation()).Status == 0x0000


def test_our_user_and_another_manager():
    with StepManager() as manager:
        peer = Peer(ae_title=manager.ae_title, host=manager.host, port=manager.port)
        assert create_step("CXRPACS", peer, "1.2.5", creation()) == 0x0000
        with pytest.raises(RefusedOperation) as refused:
            create_step("CXRPACS", peer, "1.2.5", creation())
        assert refused.value.status == 0x0111
        assert set_step("CXRPACS", peer, "1.2.5", completion(["1.2.9"])) == 0x0000
        with pytest.raises(RefusedOperation) as refused:
            set_step("CXRPACS", peer, "1.2.5", completion())
        assert (refused.value.status, refused.value.error_id) == (0x0110, 0xA710)
        manager.status = 0x0213
        with pytest.raises(DestinationUnavailable, match="0213"):
            set_step("CXRPACS", peer, "1.2.5", completion())
        manager.status = 0x0107
        assert set_step("CXRPACS", peer, "1.2.5", completion()) == 0x0107
        manager.status, manager.deaf = None, 1
        with pytest.raises(DestinationUnavailable, match=r"did not answer|ended the association"):
            create_step("CXRPACS", peer, "1.2.6", creation())
    assert manager.known.kinds("1.2.5") == [("N-CREATE", "IN PROGRESS"), ("N-SET", "COMPLETED")]


def test_our_user_and_our_provider(kept, peer):
    create_step("CR1", peer, "1.2.5", creation())
    set_step("CR1", peer, "1.2.5", completion(status="DISCONTINUED"))
    assert kept.steps["1.2.5"].PerformedProcedureStepStatus == "DISCONTINUED"


def test_nobody_listens():
    peer = Peer(ae_title="RIS", host="127.0.0.1", port=free_port())
    with pytest.raises(DestinationUnavailable):
        create_step("CXRPACS", peer, "1.2.5", creation())
