"""The storage commitment service against pynetdicom peers on real sockets."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from committing import AskingModality, CommittingArchive
from peers import Orthanc, eventually, free_port
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from cxr_pacs.dimse import (
    CommitmentReport,
    CommitmentRequest,
    Listener,
    LocalEntity,
    ObjectReference,
    Peer,
    commitment_service,
    report_commitment,
    report_on,
    requested_commitment,
)
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable, SpoolUnavailable

FIRST, SECOND = (
    ObjectReference(sop_class_uid=ComputedRadiographyImageStorage, sop_instance_uid=f"1.2.{n}")
    for n in (1, 2)
)
OBJECTS = {one.sop_instance_uid: one.sop_class_uid for one in (FIRST, SECOND)}
REQUEST = CommitmentRequest(calling_ae_title="CXRPACS", transaction_uid="2.25.77", objects=(FIRST, SECOND))
REPORT = CommitmentReport(transaction_uid="2.25.77", committed=(FIRST,), failed={SECOND: 0x0112})


@contextmanager
def listening(on_request=None, on_report=lambda _: True):
    port = free_port()
    local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=port)
    listener = Listener(local, [commitment_service(on_request, on_report)], lambda _: None)
    listener.start()
    try:
        yield port
    finally:
        listener.stop(5)


@contextmanager
def archive_of(tmp_path, reports, port=0):
    with CommittingArchive(tmp_path, reports=reports, client=("CXRPACS", port)) as archive:
        yield archive, Peer(ae_title=archive.ae_title, host=archive.host, port=archive.port)


def test_a_report_on_the_association_of_the_request(tmp_path):
    got = []
    with archive_of(tmp_path, "same") as (archive, peer):
        archive.failure = 0x0122
        with requested_commitment(peer, REQUEST, lambda report: got.append(report) or True):
            eventually(lambda: archive.answers)
    assert archive.answers == [0x0000]
    assert archive.asked[0].objects == OBJECTS
    failed = {FIRST: 0x0122, SECOND: 0x0122}
    assert got == [CommitmentReport(transaction_uid="2.25.77", committed=(), failed=failed)]


@pytest.mark.parametrize("roles", [True, False])
def test_a_report_on_an_association_that_the_archive_opens(tmp_path, roles):
    got = []
    with (
        listening(on_report=lambda report: got.append(report) or True) as port,
        archive_of(tmp_path, "never", port) as (archive, peer),
    ):
        with requested_commitment(peer, REQUEST, lambda _: True):
            pass
        archive.report(archive.asked[0], {"1.2.2": 0x0112}, roles=roles)
    assert archive.answers == [0x0000]
    assert got == [REPORT]


@pytest.mark.parametrize(("status", "error"), [(0x0110, DestinationUnavailable), (0x0122, DeliveryRefused)])
def test_a_request_that_is_refused(tmp_path, status, error):
    with archive_of(tmp_path, "same") as (archive, peer):
        archive.action_status = status
        with pytest.raises(error, match=f"{status:04X}"), requested_commitment(peer, REQUEST, lambda _: True):
            pytest.fail("refused")


def test_an_archive_that_knows_no_commitment():
    ae = AE(ae_title="PLAIN")
    ae.add_supported_context(ComputedRadiographyImageStorage)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False)
    peer = Peer(ae_title="PLAIN", host="127.0.0.1", port=port)
    try:
        with (
            pytest.raises(DeliveryRefused, match="no presentation context for Storage Commitment"),
            requested_commitment(peer, REQUEST, lambda _: True),
        ):
            pytest.fail("refused")
    finally:
        server.shutdown()


def fail(_):
    raise KeyError("PATIENT^NAME")


def unavailable(*_):
    raise SpoolUnavailable("full")


@pytest.mark.parametrize(
    ("on_report", "status"), [(lambda _: False, 0x0115), (fail, 0x0110), (unavailable, 0x0213)]
)
def test_a_report_that_is_not_taken(tmp_path, caplog, on_report, status):
    with (
        listening(on_report=on_report) as port,
        archive_of(tmp_path, "new", port) as (archive, peer),
        requested_commitment(peer, REQUEST, lambda _: True),
    ):
        eventually(lambda: archive.answers)
    assert archive.answers == [status]
    assert "ARCHIVE" in caplog.text
    assert "PATIENT" not in caplog.text


def test_requests_of_a_modality_and_their_statuses():
    taken, answers = [], iter([True, False])

    def take(request, _):
        taken.append(request)
        return next(answers)

    modality = AskingModality()
    with listening(take) as port, modality.asking(port) as association:
        assert modality.ask(association, OBJECTS, "2.25.77")[1] == 0x0000
        assert modality.ask(association, OBJECTS, "2.25.77")[1] == 0x0115
        assert modality.ask(association, {}, "2.25.77")[1] == 0x0115
        assert modality.ask(association, OBJECTS, "2.25.77", action_type=2)[1] == 0x0123
        assert modality.ask(association, OBJECTS, "2.25.77", instance="1.2.3")[1] == 0x0112
    asked = CommitmentRequest(calling_ae_title="DX1", transaction_uid="2.25.77", objects=(FIRST, SECOND))
    assert taken == [asked, asked]


@pytest.mark.parametrize(("on_request", "status"), [(None, 0x0124), (unavailable, 0x0213)])
def test_a_request_that_is_not_taken(on_request, status):
    modality = AskingModality()
    with listening(on_request) as port, modality.asking(port) as association:
        assert modality.ask(association, OBJECTS)[1] == status


def test_a_modality_is_told_on_its_own_association_or_a_new_one():
    associations = []

    def take(_, association):
        associations.append(association)
        return True

    with AskingModality() as modality, listening(take) as port:
        with modality.asking(port) as association:
            modality.ask(association, OBJECTS)
            assert report_on(associations[0], REPORT)
        eventually(lambda: not associations[0].is_established)
        assert not report_on(associations[0], REPORT)
        report_commitment("CXRPACS", Peer(ae_title="DX1", host="127.0.0.1", port=modality.port), REPORT)
        first, second = modality.told
        assert first == second
        assert (first.event_type, first.committed, first.failed) == (2, ("1.2.1",), {"1.2.2": 0x0112})
        modality.status = 0x0112
        with pytest.raises(DeliveryRefused, match="0112"):
            report_commitment("CXRPACS", Peer(ae_title="DX1", host="127.0.0.1", port=modality.port), REPORT)


def test_roles_are_proposed_and_taken():
    proposed = []
    ae = AE(ae_title="DX1")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    port = free_port()
    handlers = [
        (evt.EVT_REQUESTED, lambda e: proposed.append(e.assoc.requestor.role_selection)),
        (evt.EVT_N_EVENT_REPORT, lambda _: (0x0000, None)),
    ]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        report_commitment("CXRPACS", Peer(ae_title="DX1", host="127.0.0.1", port=port), REPORT)
    finally:
        server.shutdown()
    role = proposed[0][StorageCommitmentPushModel]
    assert (role.scu_role, role.scp_role) == (False, True)


def test_orthanc_says_what_it_has_not(tmp_path):
    got = []
    with (
        listening(on_report=lambda report: got.append(report) or True) as port,
        Orthanc(tmp_path, modalities={"gateway": ("CXRPACS", port)}) as orthanc,
        requested_commitment(
            Peer(ae_title=orthanc.ae_title, host=orthanc.host, port=orthanc.port), REQUEST, lambda _: True
        ),
    ):
        eventually(lambda: got)
    (report,) = got
    assert report.transaction_uid == REQUEST.transaction_uid
    assert (report.committed, report.failed) == ((), {FIRST: 0x0112, SECOND: 0x0112})


def test_the_release_waits_for_the_answer_to_a_report(tmp_path):
    """The report is seen as soon as it is durable, which is before it is answered."""
    with archive_of(tmp_path, "same") as (archive, peer):
        for _ in range(20):
            seen = threading.Event()
            with requested_commitment(peer, REQUEST, lambda _, seen=seen: seen.set() or True):
                assert seen.wait(30)
        eventually(lambda: len(archive.answers) == 20)
    assert set(archive.answers) == {0x0000}
