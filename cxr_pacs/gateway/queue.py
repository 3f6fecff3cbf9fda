"""Work put into the queues in the transaction that records why, by the gateway or by a command beside it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer

__all__ = ["APPLICATION", "APPLICATION_VERSION", "Queue"]

# Never derived from code, or work of an older process would wait for ever; see docs/adr/0002.
APPLICATION = "cxr-pacs"
APPLICATION_VERSION = "flow-1"
_LIVE = ["PENDING", "ENQUEUED", "DELAYED"]


class Queue:
    """Enqueues workflows; a workflow carries the id of a ledger row and the number of its attempt.

    Parameters
    ----------
    engine : Engine
        Of the ledger's database, which is also that of DBOS.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()

    def enqueue(
        self,
        connection: sa.Connection,
        name: str,
        row_id: int,
        attempt: int,
        *,
        delay: float = 0.0,
        partition: str | None = None,
    ) -> None:
        """Enqueue attempt number `attempt` of the workflow `name` on row `row_id`, due in `delay` seconds."""
        options: Any = {
            "workflow_name": name,
            "queue_name": name,
            "workflow_id": f"{name}:{row_id}:{attempt}",
            "app_version": APPLICATION_VERSION,
        }
        if delay > 0:
            options["delay_seconds"] = delay
        if partition is not None:
            options["queue_partition_key"] = partition
        self._client.enqueue_in_transaction(connection, options, row_id, attempt)

    def hasten(self, name: str, row_id: int, delay: float) -> None:
        """Let the newest attempt of `name` on row `row_id`, if it is delayed, be due in `delay` seconds."""
        if attempt := self.attempts(name, row_id):
            self._client.set_workflow_delay(f"{name}:{row_id}:{attempt}", delay_seconds=max(delay, 0.0))

    def live(self) -> set[tuple[str, str]]:
        """Give name and row id of every workflow that is running or will run."""
        found = self._client.list_workflows(status=_LIVE, load_input=False, load_output=False)
        parts = (status.workflow_id.split(":") for status in found)
        return {(name, row) for name, row in (part[:2] for part in parts if len(part) == 3)}

    def attempts(self, name: str, row_id: int) -> int:
        """Give the number of the last attempt of `name` on row `row_id` that was enqueued; 0 for none."""
        prefix = f"{name}:{row_id}:"
        found = self._client.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
        return max((int(status.workflow_id.rpartition(":")[2]) for status in found), default=0)
