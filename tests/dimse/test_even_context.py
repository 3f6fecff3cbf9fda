"""A peer that numbers its presentation contexts evenly, as dcm4che's stgcmtscu does."""

from __future__ import annotations

from peers import free_port
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from cxr_pacs.dimse import Listener, LocalEntity, verification_scp


class _EvenContext(PresentationContext):
    @property
    def context_id(self):
        return self._context_id

    @context_id.setter
    def context_id(self, value):
        self._context_id = value + 1


def test_it_is_served():
    local = LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=free_port())
    listener = Listener(local, [verification_scp()], lambda _: None)
    listener.start()
    try:
        context = _EvenContext()
        context.abstract_syntax, context.transfer_syntax = Verification, ["1.2.840.10008.1.2"]
        association = AE().associate("127.0.0.1", local.port, contexts=[context], ae_title=local.ae_title)
        assert association.is_established
        assert [one.context_id for one in association.accepted_contexts] == [2]
        assert association.send_c_echo().Status == 0x0000
        association.release()
    finally:
        listener.stop(5)
