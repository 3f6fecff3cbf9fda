"""What an archive may answer, and what we make of it: tried again, or refused with the reason."""

from __future__ import annotations

import hashlib
import socket

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt
from pynetdicom.dsutils import split_dataset
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.dimse import Peer, associations, store, store_as_received
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable


class Peculiar:
    """A storage SCP that answers with `status`, or aborts in the middle of the transfer."""

    def __init__(self, status=0x0000, syntaxes=(ExplicitVRLittleEndian,), *, drop=False):
        self.digests = []
        self._status, self._drop = status, drop
        self._ae = AE(ae_title="PECULIAR")
        self._ae.add_supported_context(DigitalXRayImageStorageForPresentation, list(syntaxes))
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_PDU_RECV, self._received)]
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.peer = Peer(ae_title="PECULIAR", host="127.0.0.1", port=server.socket.getsockname()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ae.shutdown()

    def _store(self, event):
        self.digests.append(hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest())
        return self._status

    def _received(self, event):
        if self._drop and type(event.pdu).__name__ == "P_DATA_TF":
            event.assoc.abort()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "dx.dcm"
    make_radiograph(picture=synthetic_chest(400, 400, 0)).save_as(path)
    return path


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0110, 0x0213])
@pytest.mark.parametrize("send", [store, store_as_received])
def test_what_ails_the_archive_may_pass(file, status, send):
    with Peculiar(status) as archive, pytest.raises(DestinationUnavailable, match=f"{status:04X}"):
        send("TEST", archive.peer, file)


@pytest.mark.parametrize("status", [0x0122, 0x0124, 0xA900, 0xA9FF, 0xC000, 0xCFFF])
def test_another_failure_is_a_refusal(file, status):
    with Peculiar(status) as archive, pytest.raises(DeliveryRefused, match=f"{status:04X}"):
        store("TEST", archive.peer, file)


def test_an_association_that_is_dropped_in_the_middle_may_come_again(file):
    with Peculiar(drop=True) as archive, pytest.raises(DestinationUnavailable):
        store("TEST", archive.peer, file)


def odd_original(folder, syntax):
    """A file whose data set no library would write again as it is: with a group length, and padding."""
    path = folder / "odd.dcm"
    make_radiograph(picture=synthetic_chest(64, 64, 0), transfer_syntax=syntax).save_as(path)
    _, offset = split_dataset(path)
    whole = path.read_bytes()
    explicit = not syntax.is_implicit_VR
    group_length = b"\x08\0\0\0" + (b"UL\4\0" if explicit else b"\4\0\0\0") + b"\x10\0\0\0"
    padding = b"\xfc\xff\xfc\xff" + (b"OB\0\0" if explicit else b"") + b"\4\0\0\0\0\0\0\0"
    odd = group_length + whole[offset:] + padding
    path.write_bytes(whole[:offset] + odd)
    return path, hashlib.sha256(odd).hexdigest()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_original_goes_byte_for_byte(tmp_path, syntax):
    path, digest = odd_original(tmp_path, syntax)
    with Peculiar(syntaxes=[syntax]) as archive:
        store_as_received("TEST", archive.peer, path)
        store("TEST", archive.peer, path)
    assert archive.digests[0] == digest
    assert archive.digests[1] != digest


def test_an_original_is_not_transcoded(tmp_path):
    path, _ = odd_original(tmp_path, ExplicitVRLittleEndian)
    with Peculiar(syntaxes=[ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]) as archive:
        with pytest.raises(DeliveryRefused, match=r"context for Digital .* in Explicit VR Little"):
            store_as_received("TEST", archive.peer, path)
        store("TEST", archive.peer, path)
    assert len(archive.digests) == 1


def test_nothing_is_held_back_by_the_socket(file, monkeypatch):
    seen = []
    original = associations._send_at_once

    def watch(event):
        original(event)
        transport = event.assoc.dul.socket.socket
        seen.append(transport.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(associations, "_send_at_once", watch)
    with Peculiar() as archive:
        store("TEST", archive.peer, file)
    assert seen
    assert all(seen)
