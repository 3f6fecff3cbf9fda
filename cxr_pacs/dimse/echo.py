"""Verification service (PS3.4 annex A)."""

from __future__ import annotations

from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxr_pacs.dimse.associations import Peer, Service, associate
from cxr_pacs.errors import DestinationUnavailable

__all__ = ["echo", "verification_scp"]


def verification_scp() -> Service:
    """Answer every C-ECHO with 0x0000."""
    syntaxes = tuple(build_context(Verification).transfer_syntax)
    return Service(
        contexts=((str(Verification), tuple(map(str, syntaxes))),), handlers=((evt.EVT_C_ECHO, _success),)
    )


def _success(_event: evt.Event) -> int:
    return 0x0000


def echo(calling_ae_title: str, peer: Peer) -> None:
    """C-ECHO to `peer`; raises as `associate`, and DestinationUnavailable on any status but 0x0000."""
    with associate(calling_ae_title, peer, [build_context(Verification)]) as association:
        status = association.send_c_echo()
        if status.get("Status") != 0x0000:
            raise DestinationUnavailable(f"{peer} answered C-ECHO with {status.get('Status', 'nothing')}")
