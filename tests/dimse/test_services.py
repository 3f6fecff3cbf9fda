"""Verification and storage against pynetdicom and DCMTK on real sockets."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager

import pytest
from peers import dcmtk, eventually, free_port, storescu
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import Verification
from radiographs import make_radiograph

from cxr_pacs.dimse import (
    Listener,
    LocalEntity,
    Peer,
    RefusedContext,
    echo,
    storage_scp,
    store,
    verification_scp,
)
from cxr_pacs.errors import (
    ConfigurationError,
    DeliveryRefused,
    DestinationUnavailable,
    RefusedInstance,
    SpoolUnavailable,
)

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@contextmanager
def listening(receive, grace=5, **entity):
    port = free_port()
    refused = []
    local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=port, **entity)
    services = [verification_scp(), storage_scp([DigitalXRayImageStorageForPresentation], SYNTAXES, receive)]
    listener = Listener(local, services, refused.extend)
    listener.start()
    try:
        yield Peer(ae_title="CXRPACS", host="127.0.0.1", port=port), refused
    finally:
        listener.stop(grace)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cr.dcm"
    make_radiograph().save_as(path)
    return path


def test_echoscu_is_answered():
    with listening(lambda _: None) as (peer, _):
        assert dcmtk("echoscu", "-aec", "CXRPACS", peer.host, peer.port).returncode == 0
        echo("TEST", peer)


def test_another_called_title_is_rejected(caplog):
    with listening(lambda _: None) as (peer, _):
        assert dcmtk("echoscu", "-aec", "OTHER", peer.host, peer.port).returncode != 0
        with pytest.raises(DestinationUnavailable, match=r"[Cc]alled AE title"):
            echo("TEST", Peer(ae_title="OTHER", host=peer.host, port=peer.port))
    assert "association from TEST" in caplog.text
    assert "calling OTHER, rejected: Called AE title not recognised" in caplog.text


def test_a_calling_title_that_is_not_listed_is_rejected():
    with listening(lambda _: None, calling_ae_titles=("KNOWN",)) as (peer, _):
        echo("KNOWN", peer)
        with pytest.raises(DestinationUnavailable, match=r"[Cc]alling AE title"):
            echo("STRANGER", peer)


def test_storescu_delivers_the_bytes_that_it_sent(file):
    got = []
    with listening(got.append) as (peer, _):
        assert storescu(file, peer.port, transfer_syntax=ExplicitVRLittleEndian).returncode == 0
    (instance,) = got
    assert instance.dataset in file.read_bytes()
    assert instance.part10.endswith(instance.dataset)
    assert instance.source == "STORESCU"
    assert instance.transfer_syntax_uid == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (RefusedInstance("no", status=0xA900), DeliveryRefused, "A900"),
        (RefusedInstance("no"), DeliveryRefused, "C000"),
        (SpoolUnavailable("full"), DestinationUnavailable, "A700"),
        (KeyError("unforeseen"), DestinationUnavailable, "0110"),
    ],
)
def test_an_error_of_the_receiver_is_its_status_and_the_association_goes_on(file, error, raised, status):
    outcomes = iter([error, None])

    def receive(_):
        if (outcome := next(outcomes)) is not None:
            raise outcome

    with listening(receive) as (peer, _):
        with pytest.raises(raised, match=status):
            store("TEST", peer, file)
        assert store("TEST", peer, file) == 0x0000


def test_a_class_that_is_not_read_is_reported_and_not_accepted(tmp_path):
    path = tmp_path / "ct.dcm"
    make_radiograph(SOPClassUID=CTImageStorage).save_as(path)
    with listening(lambda _: None) as (peer, refused):
        with pytest.raises(DeliveryRefused, match="no presentation context for CT Image Storage"):
            store("TEST", peer, path)
        assert refused == [
            RefusedContext(calling_ae_title="TEST", abstract_syntax=CTImageStorage, class_is_read=False)
        ]


def test_a_class_in_an_unread_syntax_is_told_apart(tmp_path):
    port = free_port()
    refused = []
    local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=port)
    services = [storage_scp([DigitalXRayImageStorageForPresentation], SYNTAXES, lambda _: None)]
    listener = Listener(local, services, refused.extend)
    listener.start()
    ae = AE(ae_title="TEST")
    ae.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRBigEndian)
    association = ae.associate("127.0.0.1", port, ae_title="CXRPACS")
    assert not association.is_established
    listener.stop(5)
    assert [context.class_is_read for context in refused] == [True]


def test_a_peer_that_knows_the_default_transfer_syntax_only_is_served(file):
    got = []
    ae = AE(ae_title="OLD")
    ae.add_supported_context(DigitalXRayImageStorageForPresentation, ImplicitVRLittleEndian)
    port = free_port()

    def on_store(event):
        got.append(event.dataset.SOPInstanceUID)
        return 0x0000

    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        assert store("TEST", Peer(ae_title="OLD", host="127.0.0.1", port=port), file) == 0x0000
    finally:
        server.shutdown()
    assert got == [dcmread(file).SOPInstanceUID]


def test_a_peer_that_aborts_is_tried_again(file):
    ae = AE(ae_title="RUDE")
    ae.add_supported_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    port = free_port()
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_ESTABLISHED, lambda e: e.assoc.abort())]
    )
    try:
        with pytest.raises(DestinationUnavailable):
            store("TEST", Peer(ae_title="RUDE", host="127.0.0.1", port=port), file)
    finally:
        server.shutdown()


def test_nobody_listens(file):
    with pytest.raises(DestinationUnavailable, match="could not be reached"):
        store("TEST", Peer(ae_title="NOBODY", host="127.0.0.1", port=free_port()), file)


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_means_stored(file, status):
    ae = AE(ae_title="WARNS")
    ae.add_supported_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    port = free_port()
    handlers = [(evt.EVT_C_STORE, lambda _: status)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        assert store("TEST", Peer(ae_title="WARNS", host="127.0.0.1", port=port), file) == status
    finally:
        server.shutdown()


def test_a_port_in_use_names_its_setting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match=r"dicom\.port"):
            Listener(local, [verification_scp()], lambda _: None).start()


def test_a_peer_that_connects_and_asks_for_nothing_holds_no_stop_up():
    """A failed thread of the listener fails the test by itself."""
    with closing(socket.socket()) as peer:
        peer.settimeout(10)
        with listening(lambda _: None, grace=0) as (address, _):
            peer.connect((address.host, address.port))
            eventually(lambda: any(isinstance(one, DULServiceProvider) for one in threading.enumerate()))
        assert peer.recv(1) == b""


def test_a_listener_that_stops_just_after_it_rejected_ends_in_peace():
    ae, port = AE(ae_title="STRICT"), free_port()
    ae.add_supported_context(Verification)
    ae.require_calling_aet = ["KNOWN"]
    stops = [(evt.EVT_REJECTED, lambda event: event.assoc.abort(block=False))]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=stops)
    try:
        with pytest.raises(DestinationUnavailable):
            echo("TEST", Peer(ae_title="STRICT", host="127.0.0.1", port=port))
        eventually(lambda: not ae.active_associations)
    finally:
        server.shutdown()
