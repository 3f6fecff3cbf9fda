"""Where worklist items are kept: put, changed, looked up by their order, brought to another state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import connect, insert_into, one_at_a_time
from cxr_pacs.errors import ConfigurationError
from cxr_pacs.worklist.elements import Elements, read_elements
from cxr_pacs.worklist.items import FINAL_STATES, NOT_BEGUN, StepState, WorklistItem
from cxr_pacs.worklist.matching import STEPS
from cxr_pacs.worklist.names import name_groups
from cxr_pacs.worklist.narrowing import narrowed
from cxr_pacs.worklist.query import Query
from cxr_pacs.worklist.tables import item, metadata, name, performed_item, station

__all__ = ["Put", "StoredItem", "Worklist", "open_worklist", "stored_item"]

# Items that a search reads at once: no transaction outlasts the sending of as many answers.
_AT_ONCE: Final = 200
# An order that comes after one of these means that the step is to be done yet.
_ANEW: Final = (StepState.CANCELLED, StepState.DISCONTINUED)
_STEP_STATUS: Final = 0x00400020


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """An item as it stands.

    Attributes
    ----------
    id : int
    origin : str
        Who put it here.
    state : StepState
        What its Scheduled Procedure Step Status is now, whatever the data set says.
    changed_at : float
        Seconds since the epoch.
    item : WorklistItem
    """

    id: int
    origin: str
    state: StepState
    changed_at: float
    item: WorklistItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """How many items `put` brought: new ones, changed ones, and ones that were there already.

    `completed` counts those among them whose step is completed, so that no query is answered with them.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    completed: int = 0


class Worklist:
    """Tables and queries. Each method runs in the caller's transaction (`begin`).

    Parameters
    ----------
    engine : Engine
        Of the database that the gateway uses.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        with engine.begin() as connection:
            one_at_a_time(connection, "tables")
            metadata.create_all(connection)

    def begin(self) -> Any:
        """Open a transaction: ``with worklist.begin() as connection``."""
        return self.engine.begin()

    def put(self, connection: sa.Connection, items: Iterable[WorklistItem], origin: str, now: float) -> Put:
        """Add each item, or change the one of its key.

        An item that was cancelled or discontinued is scheduled anew, and the steps that it had count no more.
        Any other keeps its state, but for one that its source now names while the step has not begun.
        """
        counts: Counter[str] = Counter()
        for one in items:
            what, state = self._put(connection, one, origin, now)
            counts.update([what, "completed"] if state == StepState.COMPLETED else [what])
        return Put(**counts)

    def _put(
        self, connection: sa.Connection, one: WorklistItem, origin: str, now: float
    ) -> tuple[str, StepState]:
        encoded = one.to_bytes()
        values: dict[str, Any] = {
            "key": one.key,
            "origin": origin,
            "state": one.state or StepState.SCHEDULED,
            "changed_at": now,
            "modality": one.modality,
            "start": one.start,
            "accession_number": one.text("AccessionNumber"),
            "patient_id": one.text("PatientID"),
            "study_instance_uid": one.text("StudyInstanceUID"),
            "step_id": one.step_id,
            "dataset": encoded,
        }
        new = insert_into(connection, item).values(**values).on_conflict_do_nothing()
        item_id = connection.execute(new.returning(item.c.id)).scalar()
        if item_id is not None:
            self._set_index(connection, item_id, one)
            return "added", values["state"]
        known = connection.execute(sa.select(item).where(item.c.key == one.key).with_for_update()).one()
        was = StepState(known.state)
        if known.dataset == encoded and known.origin == origin and was not in _ANEW:
            return "unchanged", was
        if was in _ANEW:
            connection.execute(sa.delete(performed_item).where(performed_item.c.item_id == known.id))
        elif one.state is None or was not in NOT_BEGUN:
            values["state"] = was
        connection.execute(sa.update(item).where(item.c.id == known.id).values(**values))
        for table in (station, name):
            connection.execute(sa.delete(table).where(table.c.item_id == known.id))
        self._set_index(connection, known.id, one)
        return "changed", values["state"]

    def _set_index(self, connection: sa.Connection, item_id: int, one: WorklistItem) -> None:
        names = name_groups(one.text("PatientName"))
        for column, values in ((station.c.ae_title, one.stations), (name.c.name, names)):
            rows = [{"item_id": item_id, column.name: value} for value in dict.fromkeys(values) if value]
            if rows:
                connection.execute(sa.insert(column.table), rows)

    def find(self, query: Query) -> Iterator[Elements]:
        """Yield the items that match and are in no final state, by their start; in transactions of its own.

        The database narrows what is read to what may match (`narrowed`). An item that came to a final state
        meanwhile is left out.
        """
        wanted = (item.c.state.not_in(FINAL_STATES), *narrowed(query))
        with self.engine.connect() as connection:
            found = connection.scalars(sa.select(item.c.id).where(*wanted).order_by(item.c.start, item.c.id))
            ids = found.all()
        for first in range(0, len(ids), _AT_ONCE):
            chosen = sa.select(item.c.state, item.c.dataset).where(
                item.c.id.in_(ids[first : first + _AT_ONCE]), item.c.state.not_in(FINAL_STATES)
            )
            with self.engine.connect() as connection:
                rows = connection.execute(chosen.order_by(item.c.start, item.c.id)).all()
            for row in rows:
                elements = _in_state(read_elements(row.dataset), row.state)
                if query.matches(elements):
                    yield elements

    def of_order(
        self, connection: sa.Connection, *, accession_number: str = "", step_id: str = "", study_uid: str = ""
    ) -> tuple[StoredItem, ...]:
        """Items with one of these, in any state; what is empty finds nothing."""
        wanted = (
            (item.c.accession_number, accession_number),
            (item.c.step_id, step_id),
            (item.c.study_instance_uid, study_uid),
        )
        conditions = [column == text for column, text in wanted if text]
        if not conditions:
            return ()
        found = connection.execute(sa.select(item).where(sa.or_(*conditions)).order_by(item.c.id))
        return tuple(map(stored_item, found))

    def set_state(self, connection: sa.Connection, item_id: int, state: StepState, now: float) -> bool:
        """Bring an item to a state; False where it is in a final one."""
        statement = (
            sa.update(item)
            .where(item.c.id == item_id, item.c.state.not_in(FINAL_STATES))
            .values(state=state, changed_at=now)
        )
        return connection.execute(statement).rowcount == 1


def open_worklist(url: str) -> Worklist:
    """Open the database at `url` and make the worklist's tables; ConfigurationError when it cannot be."""
    try:
        return Worklist(connect(url))
    except (OSError, ImportError, sa.exc.SQLAlchemyError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"database.url: cannot open the worklist: {reason}") from error


def _in_state(elements: dict[int, Any], state: str) -> Elements:
    status = state.encode() + b" " * (len(state) % 2)
    steps = tuple({**step, _STEP_STATUS: status} for step in elements[STEPS])
    return {**elements, STEPS: steps}


def stored_item(row: Any) -> StoredItem:
    """Give a row of the item table as what it stands for."""
    return StoredItem(
        id=row.id,
        origin=row.origin,
        state=StepState(row.state),
        changed_at=row.changed_at,
        item=WorklistItem.from_bytes(row.dataset),
    )
