"""Images whose analysis ends the process, by a fault in native code or for want of memory, are found out.

A dead process cannot write down what it died of. So the ledger says before each analysis that it begins, and
after it that it ended; what began and never ended is suspect.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import sqlalchemy as sa

from cxr_pacs.database import insert_into
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.gateway.tables import trial

__all__ = ["ANALYSES_AT_ONCE", "FATAL_TRIALS", "Trials"]

ANALYSES_AT_ONCE: Final = 2
# Deaths of the process during one analysis after which its image is held. Not fewer, since a process may also
# be killed from outside.
FATAL_TRIALS: Final = 5


class Trials:
    """Counts the analyses that a process did not survive, and analyses the suspects one by one.

    Parameters
    ----------
    ledger : Ledger
        Holds the counts: they survive the process, and the next one may be on another host.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._places = threading.Semaphore(ANALYSES_AT_ONCE)
        self._entering = threading.Lock()

    @contextmanager
    def of(self, instance_id: int) -> Iterator[int]:
        """Begin an analysis; gives how many processes ended during this one before.

        A suspect runs alone in its process, or the image that happened to be analysed beside it would be
        blamed as well. `end` must be called in the transaction that records the outcome.
        """
        with self._ledger.begin() as connection:
            query = sa.select(trial.c.begun).where(trial.c.instance_id == instance_id)
            suspect = connection.execute(query).scalar() is not None
        with ExitStack() as places:
            with self._entering:
                for _ in range(ANALYSES_AT_ONCE if suspect else 1):
                    places.enter_context(self._places)
            with self._ledger.begin() as connection:
                new = insert_into(connection, trial).values(instance_id=instance_id, begun=1)
                once_more = new.on_conflict_do_update(
                    index_elements=[trial.c.instance_id], set_={"begun": trial.c.begun + 1}
                )
                begun: int = connection.execute(once_more.returning(trial.c.begun)).scalar_one()
            yield begun - 1

    def end(self, connection: sa.Connection, instance_id: int) -> None:
        """Record that the analysis ended, and that the process lives."""
        connection.execute(sa.delete(trial).where(trial.c.instance_id == instance_id))
