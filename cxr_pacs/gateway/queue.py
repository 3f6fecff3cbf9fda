"""Work put into the queues in the transaction that records why, by the gateway or by a command beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

__all__ = ["APPLICATION", "APPLICATION_VERSION", "FATAL_DISPATCHES", "Queue"]

# Never derived from code, or work of an older process would wait for ever; see docs/adr/0002.
APPLICATION = "cxr-pacs"
APPLICATION_VERSION = "flow-1"
# What goes to one destination goes at one pace, whatever it is.
_QUEUES = {"forward": "deliver"}
_LIVE = ["PENDING", "ENQUEUED", "DELAYED"]
_ENDED = ["SUCCESS", "ERROR", "CANCELLED"]
# A workflow that was begun so often, each time in a process that ended before it, is not begun again.
FATAL_DISPATCHES = 20
# Seconds by which the clocks of a site's hosts and of its database may differ.
_CLOCKS_DIFFER = 60.0


class Queue:
    """Enqueues workflows; a workflow carries the id of a ledger row and the number of its attempt.

    Parameters
    ----------
    engine : Engine
        Of the ledger's database, which is also that of DBOS.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._client = DBOSClient(
            system_database_engine=engine,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def prepare(self) -> None:
        """Make the tables of DBOS where they are missing, for a process that enqueues only."""
        DBOS.migrate(self._engine.url.render_as_string(hide_password=False))

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
            "queue_name": _QUEUES.get(name, name),
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

    def hasten_belated(self, now: float) -> int:
        """Let every delayed workflow that was enqueued later than `now` be due; give their number.

        That was before the clock was set back, and their delays would last longer by as much.
        """
        since = dt.datetime.fromtimestamp(now + _CLOCKS_DIFFER, tz=dt.UTC).isoformat()
        found = self._client.list_workflows(
            status="DELAYED", start_time=since, load_input=False, load_output=False
        )
        for status in found:
            self._client.set_workflow_delay(status.workflow_id, delay_seconds=0.0)
        return len(found)

    def live(self) -> set[tuple[str, str]]:
        """Give name and row id of every workflow that is running or will run."""
        found = self._client.list_workflows(status=_LIVE, load_input=False, load_output=False)
        parts = (status.workflow_id.split(":") for status in found)
        return {(name, row) for name, row in (part[:2] for part in parts if len(part) == 3)}

    def running(self, executor: str) -> dict[str, str | None]:
        """Give the id of every workflow that the process `executor` took and has not ended, and its queue."""
        found = self._client.list_workflows(
            status="PENDING", executor_id=executor, load_input=False, load_output=False
        )
        return {status.workflow_id: status.queue_name for status in found}

    def resume(self, workflows: Mapping[str, str | None]) -> None:
        """Enqueue again what `running` gave; who was executing it owns it no more."""
        for queue_name in set(workflows.values()):
            ids = [workflow_id for workflow_id, queue in workflows.items() if queue == queue_name]
            self._client.resume_workflows(ids, queue_name=queue_name)

    def attempts(self, name: str, row_id: int) -> int:
        """Give the number of the last attempt of `name` on row `row_id` that is recorded; 0 for none."""
        prefix = f"{name}:{row_id}:"
        found = self._client.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
        return max((int(status.workflow_id.rpartition(":")[2]) for status in found), default=0)

    def exhausted(self, name: str, row_id: int, attempt: int) -> bool:
        """Whether the process ended so often during this attempt that it is not begun again."""
        known = self._client.list_workflows(
            workflow_ids=[f"{name}:{row_id}:{attempt}"], load_input=False, load_output=False
        )
        return any(status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED" for status in known)

    def forget(self, before: float) -> int:
        """Delete the records of workflows that ended before `before` (seconds since the epoch); count."""
        ended = dt.datetime.fromtimestamp(before, tz=dt.UTC).isoformat()
        count = 0
        while found := self._client.list_workflows(
            status=_ENDED, completed_before=ended, limit=500, load_input=False, load_output=False
        ):
            self._client.delete_workflows([status.workflow_id for status in found])
            count += len(found)
        return count
