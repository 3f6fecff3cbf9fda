"""Processes that share a PostgreSQL: each shows that it lives, and a living one takes over a dead one's work.

Only liveness is decided here. That a process which was thought dead does no harm when it goes on is the
workflows' own doing: each is one action that may be done twice. See docs/adr/0006.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.errors import ConfigurationError, kind_and_place
from cxr_pacs.gateway.queue import Queue
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.gateway.tables import executor

__all__ = ["Presence", "local_names"]

logger = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
# Silence after which a process counts as dead.
DEAD_SECONDS: Final = 15.0
# By the database's clock, the same for all.
_NOW = sa.func.extract("epoch", sa.func.clock_timestamp()).cast(sa.Float)
# Of one transaction, so that one process judges at a time.
_JUDGING = sa.func.pg_try_advisory_xact_lock(0x63787270616373)
_NAMES_OF_A_HOST = 1000


def local_names() -> Iterator[str]:
    """Names for the processes of this host, the same after each restart."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    return (f"{host}-{number}" for number in range(_NAMES_OF_A_HOST))


class Presence:
    """Shows each second that this process lives, and has the work of those that do not enqueued again.

    Parameters
    ----------
    engine : Engine
        Of the PostgreSQL database.
    queue : Queue
        Where a dead process's work goes.
    name : str
        Under which this process executes; no other of its host has it.
    spool : Spool
        Where a dead process may have left something half written.
    on_lost : callable
        Called when another living process has taken the name: this one must end.
    """

    def __init__(
        self, engine: sa.Engine, queue: Queue, name: str, spool: Spool, on_lost: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._spool = spool
        self._name = name
        self._on_lost = on_lost
        self._life = uuid.uuid4().hex
        self._sure_since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Take the name, then show it each second.

        Raises
        ------
        ConfigurationError
            A process of another host shows the same name: both hosts have one name.
        """
        shown = self._shown()
        # Not by the silence alone, which is negative after the database's clock was set back.
        until = time.monotonic() + 3 * BEAT_SECONDS
        while shown is not None and shown.silence < 3 * BEAT_SECONDS and time.monotonic() < until:
            # By a predecessor that was killed a moment ago, or by a process that lives.
            time.sleep(BEAT_SECONDS / 4)
            before, shown = shown, self._shown()
            if shown is not None and (shown.life, shown.seen_at) != (before.life, before.seen_at):
                raise _name_is_taken(self._name)
        if shown is not None:
            with self._engine.begin() as connection:
                same = (executor.c.life == shown.life) & (executor.c.seen_at == shown.seen_at)
                connection.execute(sa.delete(executor).where(executor.c.id == self._name, same))
        if not self._beat():
            raise _name_is_taken(self._name)
        self._thread.start()

    def stop(self) -> None:
        """End, and let another process have at once what is left."""
        self._stopped.set()
        self._thread.join()
        mine = (executor.c.id == self._name) & (executor.c.life == self._life)
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.update(executor).where(mine).values(seen_at=0.0))
        except sa.exc.SQLAlchemyError as error:
            logger.warning("%s could not sign off: %s", self._name, kind_and_place(error))

    def _shown(self) -> Any:
        silence = (_NOW - executor.c.seen_at).label("silence")
        query = sa.select(executor.c.life, executor.c.seen_at, silence).where(executor.c.id == self._name)
        with self._engine.begin() as connection:
            return connection.execute(query).first()

    def _run(self) -> None:
        last = time.monotonic()
        unseen = False
        while not self._stopped.wait(BEAT_SECONDS):
            try:
                if time.monotonic() - last > DEAD_SECONDS / 2:
                    # This process or the database stood still: the others may have been unable to beat.
                    self._sure_since = time.monotonic()
                last = time.monotonic()
                if not self._beat():
                    logger.critical("another process executes as %s: this one ends", self._name)
                    self._on_lost()
                    return
                if time.monotonic() - self._sure_since > 2 * DEAD_SECONDS:
                    self._take_over()
                unseen = False
            except Exception as error:  # noqa: BLE001  top of a thread: the database may be back at the next beat
                self._sure_since = time.monotonic()
                if not unseen:
                    logger.warning("%s cannot show that it lives: %s", self._name, kind_and_place(error))
                unseen = True

    def _beat(self) -> bool:
        """Show that this process lives; False when the name is another's now."""
        with self._engine.begin() as connection:
            mine = insert_into(connection, executor).values(id=self._name, life=self._life, seen_at=_NOW)
            shown = mine.on_conflict_do_update(
                index_elements=[executor.c.id],
                set_={"seen_at": _NOW},
                where=executor.c.life == self._life,
            )
            return connection.execute(shown.returning(executor.c.id)).first() is not None

    def _take_over(self) -> None:
        with self._engine.begin() as connection:
            if not connection.execute(sa.select(_JUDGING)).scalar():
                return
            # Seen before the database's clock was set back: each has as long from now on.
            connection.execute(sa.update(executor).where(executor.c.seen_at > _NOW).values(seen_at=_NOW))
            dead = executor.c.seen_at < _NOW - DEAD_SECONDS
            names = connection.execute(sa.select(executor.c.id).where(dead)).scalars().all()
            for name in names:
                left = self._queue.running(name)
                self._queue.resume(left)
                logger.warning("%s is gone: %d workflow(s) of it were taken over", name, len(left))
                connection.execute(sa.delete(executor).where(executor.c.id == name, dead))
        for name in names:
            self._spool.clear(name)


def _name_is_taken(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"another process executes as {name}: two hosts have one name; give each a name of its own"
    )
