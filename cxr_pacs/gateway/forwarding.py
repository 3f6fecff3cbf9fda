"""Originals sent on: which, where, and never back to where they came from."""

from __future__ import annotations

import logging
from typing import Any, Literal

import sqlalchemy as sa

from cxr_pacs.gateway import owed
from cxr_pacs.gateway.failures import said
from cxr_pacs.gateway.routing import Routes, read_routed_image
from cxr_pacs.gateway.site import Site
from cxr_pacs.gateway.tables import forwarding, instance
from cxr_pacs.inference import Findings
from cxr_pacs.settings import DicomDestination

__all__ = ["Forwarding"]

logger = logging.getLogger(__name__)


class Forwarding:
    """Owes originals to the destinations that routes name.

    Parameters
    ----------
    site : Site
        Routes and destinations, what came, and the queue of attempts.
    """

    def __init__(self, site: Site) -> None:
        self._routes = Routes(site.settings)
        self._titles = {
            one.name: one.ae_title for one in site.settings.destination if isinstance(one, DicomDestination)
        }
        self._ledger = site.ledger
        self._spool = site.spool
        self._queue = site.queue
        self._clock = site.clock

    def schedule(self, connection: sa.Connection, instance_id: int) -> None:
        """Enqueue what is to be done with a kept instance, in the transaction that records it."""
        self.owe(connection, instance_id, "before")
        if self._ledger.instance(connection, instance_id).decision is None:
            self._queue.enqueue(connection, "analyse", instance_id, 1)
        else:
            self.owe(connection, instance_id, "after")

    def owe(
        self,
        connection: sa.Connection,
        instance_id: int,
        moment: Literal["before", "after"],
        findings: Findings | None = None,
    ) -> None:
        """Owe an instance to whom it is forwarded `before` or `after` its analysis."""
        if not self._routes.forward_any(moment):
            return
        row = connection.execute(sa.select(instance).where(instance.c.id == instance_id)).one()
        image = read_routed_image(self._spool.path(row.file), row.source, findings)
        for name in self._routes.of_original(image, moment):
            if loop := self._loop(connection, row, name):
                logger.warning("instance %d is not forwarded to %s: %s", instance_id, name, loop)
                reason = f"the original {row.sop_instance_uid} for {name}: {loop}"
                self._ledger.add_unmade(connection, row.study_id, instance_id, (reason,))
                continue
            row_id = owed.owe(connection, owed.FORWARD, instance_id, name, self._clock())
            if row_id is not None:
                self._queue.enqueue(connection, owed.FORWARD, row_id, 1, partition=name)

    def owe_what_failed(self, connection: sa.Connection, instance_id: int) -> None:
        """As `owe`, of an instance whose analysis was given up; where it cannot be routed, `why` says so."""
        try:
            with connection.begin_nested():
                self.owe(connection, instance_id, "after")
        except Exception as error:  # noqa: BLE001  what its analysis failed of may fail here, too: it is held all the same
            row = self._ledger.instance(connection, instance_id)
            reason = f"instance {instance_id} was not forwarded, as its routes are not known: {said(error)}"
            logger.error("%s", reason)  # noqa: TRY400  its text says it all
            self._ledger.add_unmade(connection, row.study_id, instance_id, (reason,))

    def _loop(self, connection: sa.Connection, row: Any, destination: str) -> str | None:
        """Say why an instance would go in a circle; None where it would not.

        A circle through another archive, which may have changed the bytes, shows by the same SOP Instance UID
        coming from somebody else after it was forwarded.
        """
        if self._titles.get(destination) == row.source:
            return f"it came from there ({row.source})."
        came_before = (
            sa.select(instance.c.source)
            .join(forwarding, forwarding.c.instance_id == instance.c.id)
            .where(
                forwarding.c.destination == destination,
                instance.c.sop_instance_uid == row.sop_instance_uid,
                instance.c.source != row.source,
            )
        )
        first = connection.execute(came_before).scalars().first()
        return None if first is None else f"it was sent there already, as it came from {first}."
