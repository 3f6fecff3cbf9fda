"""Application entities as they are written on a command line."""

from __future__ import annotations

import argparse

from cxr_pacs.dimse import Peer

__all__ = ["peer"]


def peer(text: str) -> Peer:
    """Read ``AE@host:port``; for argparse."""
    title, _, where = text.partition("@")
    host, _, port = where.rpartition(":")
    if not (0 < len(title) <= 16 and host and port.isdecimal() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError("not of the form AE@host:port, such as ARCHIVE@pacs.example:104")
    return Peer(ae_title=title, host=host, port=int(port))
