"""Which messages were taken: one that comes again changes nothing.

A control ID alone does not tell: a sender whose counter was set back uses each of its numbers again.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.worklist.tables import message

__all__ = ["Known", "take_message"]

_REMEMBERED: Final = 30 * 86400.0


class Known(Enum):
    """What is known of a message."""

    NO = "a new message"
    SAME = "the same message was taken before"
    OTHER = "another message of this sender and control ID was taken before"


def take_message(connection: sa.Connection, sent: str, content: bytes, now: float) -> Known:
    """
    Remember a message for 30 days, of a sender and a control ID the last one.

    Parameters
    ----------
    connection : Connection
        What the message changes is committed with it.
    sent : str
        Sender and control ID.
    content : bytes
        What makes the message the same.
    now : float
        Seconds since the epoch.
    """
    connection.execute(sa.delete(message).where(message.c.taken_at < now - _REMEMBERED))
    key, digest = (hashlib.sha256(one).hexdigest() for one in (sent.encode(), content))
    new = insert_into(connection, message).values(sent=key, content=digest, taken_at=now)
    if connection.execute(new.on_conflict_do_nothing().returning(message.c.sent)).first() is not None:
        return Known.NO
    known = connection.execute(sa.select(message.c.content).where(message.c.sent == key)).scalar_one()
    if known == digest:
        return Known.SAME
    of_it = message.c.sent == key
    connection.execute(sa.update(message).where(of_it).values(content=digest, taken_at=now))
    return Known.OTHER
