"""What the log and the ledger call a file: its path may tell a name, and need not be UTF-8."""

from __future__ import annotations

import hashlib
import os
from typing import Final

__all__ = ["path_digest", "short_name"]

_SHORT: Final = 12


def path_digest(path: str) -> str:
    """Give the SHA-256 of an absolute path, in hexadecimal."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def short_name(path: str) -> str:
    """Give what the log calls the file at an absolute path: the first digits of its digest."""
    return path_digest(path)[:_SHORT]
