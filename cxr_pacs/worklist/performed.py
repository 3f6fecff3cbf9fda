"""Performed procedure steps: where they are kept, and what becomes of the worklist items that they perform.

An item is what its steps are together: ``STARTED`` while one is in progress, else ``COMPLETED`` once one was
completed, else ``DISCONTINUED``. So a retake after a discontinued step, and a second step after a completed
one, start a final item again, in whatever order the modality says so. A cancelled item stays cancelled. A
step that was discontinued since the wrong worklist entry had been selected does not count: without another,
its item is scheduled again.
A step is of the item that has its Scheduled Procedure Step ID, in the same study or under the same accession
number; one without that ID was not scheduled (PS3.4 F.7.2.1.2, note 3), and is kept alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from cxr_pacs.database import insert_into, one_at_a_time
from cxr_pacs.worklist.items import StepState, WorklistItem
from cxr_pacs.worklist.tables import (
    item,
    performed_instance,
    performed_item,
    performed_operation,
    performed_step,
    performed_study,
)
from cxr_pacs.worklist.wrong_entry import is_of_wrong_entry

__all__ = [
    "PerformedStep",
    "StepProgress",
    "add_step",
    "forget_steps",
    "keep_operation",
    "lock_step",
    "operations",
    "replace_step",
    "step_of",
    "step_uid",
    "step_uids_of_study",
    "steps_of_study",
    "studies_of",
]


class StepProgress(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedStep:
    """A step as it stands; times in seconds since the epoch.

    Attributes
    ----------
    id : int
    sop_instance_uid : str
    state : StepProgress
    source : str
        Calling AE title of the modality.
    created_at, changed_at : float
    instances : tuple of (SOP Instance UID, SOP Class UID)
        What it says that came of it.
    """

    id: int
    sop_instance_uid: str
    state: StepProgress
    source: str
    created_at: float
    changed_at: float
    instances: tuple[tuple[str, str], ...]


def add_step(
    connection: sa.Connection, sop_instance_uid: str, attributes: Dataset, *, source: str, now: float
) -> int | None:
    """Keep a new step; its id, or None where there is one of this UID."""
    values = {
        "sop_instance_uid": sop_instance_uid,
        "state": str(attributes.PerformedProcedureStepStatus),
        "source": source,
        "created_at": now,
        "changed_at": now,
        "dataset": _encoded(attributes),
    }
    new = insert_into(connection, performed_step).values(**values).on_conflict_do_nothing()
    step_id: int | None = connection.execute(new.returning(performed_step.c.id)).scalar()
    if step_id is not None:
        _describe(connection, step_id, attributes, now)
    return step_id


def lock_step(connection: sa.Connection, sop_instance_uid: str) -> None:
    """Let no other transaction change a step, or whom it is sent on to, until this one ends."""
    one_at_a_time(connection, f"performed step {sop_instance_uid}")


def step_of(connection: sa.Connection, sop_instance_uid: str) -> tuple[int, Dataset] | None:
    """Give id and attributes of a step, and let no other transaction change it until this one ends."""
    lock_step(connection, sop_instance_uid)
    query = sa.select(performed_step).where(performed_step.c.sop_instance_uid == sop_instance_uid)
    row = connection.execute(query).first()
    return None if row is None else (row.id, _decoded(row.dataset))


def replace_step(connection: sa.Connection, step_id: int, attributes: Dataset, now: float) -> None:
    """Keep a step as it is after an N-SET."""
    values = {
        "state": str(attributes.PerformedProcedureStepStatus),
        "changed_at": now,
        "dataset": _encoded(attributes),
    }
    connection.execute(sa.update(performed_step).where(performed_step.c.id == step_id).values(**values))
    _describe(connection, step_id, attributes, now)


def steps_of_study(connection: sa.Connection, study_instance_uid: str) -> tuple[PerformedStep, ...]:
    """List the steps of a study, the oldest first."""
    query = (
        sa.select(performed_step)
        .join(performed_study, performed_study.c.step_id == performed_step.c.id)
        .where(performed_study.c.study_instance_uid == study_instance_uid)
        .order_by(performed_step.c.id)
    )
    return tuple(_step(connection, row) for row in connection.execute(query).all())


def step_uids_of_study(study_instance_uid: str) -> sa.Select[Any]:
    """Query of the SOP Instance UIDs of the steps of a study."""
    return (
        sa.select(performed_step.c.sop_instance_uid)
        .join(performed_study, performed_study.c.step_id == performed_step.c.id)
        .where(performed_study.c.study_instance_uid == study_instance_uid)
    )


def studies_of(connection: sa.Connection, sop_instance_uid: str) -> tuple[str, ...]:
    """Study Instance UIDs of a step."""
    query = (
        sa.select(performed_study.c.study_instance_uid)
        .join(performed_step, performed_step.c.id == performed_study.c.step_id)
        .where(performed_step.c.sop_instance_uid == sop_instance_uid)
    )
    return tuple(connection.execute(query).scalars())


def step_uid(connection: sa.Connection, step_id: int) -> str:
    """SOP Instance UID of a step."""
    query = sa.select(performed_step.c.sop_instance_uid).where(performed_step.c.id == step_id)
    return str(connection.execute(query).scalar_one())


def keep_operation(connection: sa.Connection, step_id: int, attributes: Dataset) -> int:
    """Keep the list of an N-CREATE or N-SET as it came; how many of the step were kept before."""
    of_it = performed_operation.c.step_id == step_id
    count = connection.execute(sa.select(sa.func.count()).select_from(performed_operation).where(of_it))
    values = {"step_id": step_id, "attributes": _encoded(attributes)}
    before = int(count.scalar_one())
    connection.execute(sa.insert(performed_operation).values(**values))
    return before


def operations(connection: sa.Connection, sop_instance_uid: str) -> tuple[Dataset, ...]:
    """Give what `keep_operation` kept of a step, in order."""
    query = (
        sa.select(performed_operation.c.attributes)
        .join(performed_step, performed_step.c.id == performed_operation.c.step_id)
        .where(performed_step.c.sop_instance_uid == sop_instance_uid)
    )
    kept = connection.execute(query.order_by(performed_operation.c.id)).scalars()
    return tuple(map(_decoded, kept))


def forget_steps(connection: sa.Connection, before: float, kept: sa.Select[Any]) -> int:
    """Delete the steps that did not change since `before`, but for those whose UIDs `kept` gives; count."""
    old = performed_step.c.changed_at <= before
    statement = sa.delete(performed_step).where(old, performed_step.c.sop_instance_uid.not_in(kept))
    return connection.execute(statement).rowcount


def _describe(connection: sa.Connection, step_id: int, attributes: Dataset, now: float) -> None:
    """Keep to be found what the attributes say, and let the worklist items follow."""
    scheduled = list(attributes.ScheduledStepAttributesSequence)
    for uid in {str(one.StudyInstanceUID) for one in scheduled}:
        _insert(connection, performed_study, step_id=step_id, study_instance_uid=uid)
    connection.execute(sa.delete(performed_instance).where(performed_instance.c.step_id == step_id))
    for uid, sop_class_uid in dict(_instances(attributes)).items():
        _insert(
            connection,
            performed_instance,
            step_id=step_id,
            sop_instance_uid=uid,
            sop_class_uid=sop_class_uid,
        )
    for one in scheduled:
        for item_id in _items_of(connection, one):
            _insert(connection, performed_item, step_id=step_id, item_id=item_id)
    of_it = sa.select(performed_item.c.item_id).where(performed_item.c.step_id == step_id)
    _settle(connection, connection.execute(of_it.order_by(performed_item.c.item_id)).scalars().all(), now)


def _items_of(connection: sa.Connection, scheduled: Dataset) -> Iterator[int]:
    """Find the worklist items of an item of Scheduled Step Attributes Sequence."""
    step_id, accession_number, procedure_id = (
        str(scheduled.get(keyword) or "").strip()
        for keyword in ("ScheduledProcedureStepID", "AccessionNumber", "RequestedProcedureID")
    )
    if not step_id:
        return
    same_order = item.c.study_instance_uid == str(scheduled.StudyInstanceUID)
    if accession_number:
        same_order |= item.c.accession_number == accession_number
    query = sa.select(item.c.id, item.c.dataset).where(item.c.step_id == step_id, same_order)
    for row in connection.execute(query.order_by(item.c.id)).all():
        # Under one accession number two procedures may have a step "1" each.
        if procedure_id in ("", WorklistItem.from_bytes(row.dataset).text("RequestedProcedureID")):
            yield row.id


def _settle(connection: sa.Connection, item_ids: Iterable[int], now: float) -> None:
    for item_id in item_ids:
        of_it = item.c.id == item_id
        # Held, or two steps that end at once do not see each other.
        # Not the key: `performed_item` of another step may name it meanwhile, and then wait here in turn.
        locked = sa.select(item.c.state).where(of_it).with_for_update(key_share=True)
        was = connection.execute(locked).scalar_one()
        query = (
            sa.select(performed_step.c.state, performed_step.c.dataset)
            .join(performed_item, performed_item.c.step_id == performed_step.c.id)
            .where(performed_item.c.item_id == item_id)
        )
        states = {row.state for row in connection.execute(query) if not _is_mistaken(row)}
        state = _together(states, was)
        if was not in (StepState.CANCELLED, state):
            connection.execute(sa.update(item).where(of_it).values(state=state, changed_at=now))


def _is_mistaken(row: Any) -> bool:
    return row.state == StepProgress.DISCONTINUED and is_of_wrong_entry(row.dataset)


def _together(states: set[str], was: str) -> str:
    """Give what steps in these states make of an item; where there is none, a start is taken back."""
    if not states:
        return StepState.SCHEDULED if was == StepState.STARTED else was
    if StepProgress.IN_PROGRESS in states:
        return StepState.STARTED
    return StepState.COMPLETED if StepProgress.COMPLETED in states else StepState.DISCONTINUED


def _instances(attributes: Dataset) -> Iterator[tuple[str, str]]:
    for series in attributes.get("PerformedSeriesSequence") or ():
        for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"):
            for one in series.get(keyword) or ():
                yield str(one.ReferencedSOPInstanceUID), str(one.ReferencedSOPClassUID)


def _insert(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    connection.execute(insert_into(connection, table).values(**values).on_conflict_do_nothing())


def _step(connection: sa.Connection, row: Any) -> PerformedStep:
    query = sa.select(performed_instance.c.sop_instance_uid, performed_instance.c.sop_class_uid)
    named = connection.execute(query.where(performed_instance.c.step_id == row.id))
    return PerformedStep(
        id=row.id,
        sop_instance_uid=row.sop_instance_uid,
        state=StepProgress(row.state),
        source=row.source,
        created_at=row.created_at,
        changed_at=row.changed_at,
        instances=tuple((one.sop_instance_uid, one.sop_class_uid) for one in named),
    )


def _encoded(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _decoded(encoded: bytes) -> Dataset:
    return read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
