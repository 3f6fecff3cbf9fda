"""Which files of the watched folder were taken, and as what; in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.worklist.items import WorklistItem
from cxr_pacs.worklist.removal import cancel
from cxr_pacs.worklist.store import Put, Worklist, stored_item
from cxr_pacs.worklist.tables import file, item

__all__ = ["Signature", "drop_file", "put_file", "taken_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What changes when a file is written: size in bytes, time in nanoseconds since the epoch."""

    size: int
    modified: int


def taken_files(connection: sa.Connection) -> dict[str, Signature]:
    """Give the files that were taken, by name."""
    found = connection.execute(sa.select(file.c.name, file.c.size, file.c.modified))
    return {row.name: Signature(size=row.size, modified=row.modified) for row in found}


def put_file(
    worklist: Worklist, connection: sa.Connection, taken: tuple[str, Signature, WorklistItem], now: float
) -> Put | str:
    """
    Put the item of a file, and cancel the one that it held before, if that was another.

    Parameters
    ----------
    worklist : Worklist
    connection : Connection
    taken : tuple of str, Signature and WorklistItem
        Name below the folder, what the file is like, what is in it.
    now : float
        Seconds since the epoch.

    Returns
    -------
    Put or str
        What came of it; or the file that holds the same order and step: then nothing was put.
    """
    name, signature, found = taken
    before = connection.execute(sa.select(file.c.key).where(file.c.name == name)).scalar()
    if before is not None and before != found.key:
        drop_file(connection, name, now)
    same_key = sa.select(file.c.name).where(file.c.key == found.key, file.c.name != name)
    if other := connection.execute(same_key).scalar():
        return str(other)
    put = worklist.put(connection, [found], _origin(name), now)
    new = {"size": signature.size, "modified": signature.modified, "key": found.key}
    statement = insert_into(connection, file).values(name=name, **new)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=new))
    return put


def drop_file(connection: sa.Connection, name: str, now: float) -> None:
    """Forget a file, and cancel its item, unless its step has begun or another source has put it since."""
    of_file = sa.select(item).join(file, file.c.key == item.c.key)
    found = connection.execute(of_file.where(file.c.name == name, item.c.origin == _origin(name)))
    cancel(connection, map(stored_item, found.all()), now)
    connection.execute(sa.delete(file).where(file.c.name == name))


def _origin(name: str) -> str:
    return f"file:{name}"
