"""Application entities on the command line, as ``AE@HOST:PORT``."""

from __future__ import annotations

import argparse
import re

from cxr_pacs.dimse import Peer

__all__ = ["ae_title", "peer"]

_PEER = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[^\]]+\]|[^:@\[\]]+):(?P<port>\d{1,5})")
_LAST_PORT = 65535
_LONGEST_TITLE = 16


def ae_title(text: str) -> str:
    """Check a value of VR AE (PS3.5 6.2)."""
    title = text.strip()
    if not (
        0 < len(title) <= _LONGEST_TITLE and title.isascii() and title.isprintable() and "\\" not in title
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is no AE title: 1 to 16 ASCII characters, no backslash")
    return title


def peer(text: str) -> Peer:
    """Parse ``AE@HOST:PORT``; an IPv6 address stands in brackets."""
    found = _PEER.fullmatch(text)
    if found is None or not 0 < int(found["port"]) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not AE@HOST:PORT, such as CXRPACS@127.0.0.1:11112")
    return Peer(ae_title=ae_title(found["title"]), host=found["host"].strip("[]"), port=int(found["port"]))
