"""The ledger: what arrived, what was decided, what was made, what was sent. The only truth there is.

It holds UIDs and AE titles, and no name, number or date of a patient.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa

from cxr_pacs.database import connect, insert_into, one_at_a_time
from cxr_pacs.errors import ConfigurationError
from cxr_pacs.gateway import commitment_ledger, messages, owed
from cxr_pacs.gateway.tables import (
    accession,
    delivery,
    instance,
    metadata,
    removed,
    rerun,
    result,
    study,
    unmade,
)
from cxr_pacs.inference.findings import ClassCode, ClassScore, Findings, ModelIdentity, Withheld
from cxr_pacs.worklist import tables as worklist_tables

__all__ = ["OTHER_CONTENT", "Arrival", "InstanceRow", "Ledger", "MadeObject", "ResultRow", "open_ledger"]

OTHER_CONTENT: Final = "This SOP Instance UID came before with other bytes: other content or encoding."


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An instance as it came; `decision` only where intake itself decided (refuse, hold).

    Of its accession number there is only what `accession_digest` gives.
    """

    digest: str
    source: str
    received_at: float
    study_instance_uid: str | None = None
    accession_digest: str | None = None
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    file: str | None = None
    decision: str | None = None
    rung: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """An instance that the gateway keeps."""

    id: int
    study_id: int
    source: str
    received_at: float
    file: str
    decision: str | None
    reported: bool
    findings: Findings | None
    quality: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeObject:
    """An object of ours to be recorded; `instance_id` of a picture, `sources` of a document."""

    study_id: int
    kind: str
    sop_instance_uid: str
    file: str
    instance_id: int | None = None
    sources: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """An object of ours; `instance_id` of a picture, `sources` of a document."""

    id: int
    kind: str
    instance_id: int | None
    sop_instance_uid: str
    file: str
    sources: tuple[int, ...]


class Ledger:
    """Tables and queries. Each method runs in the caller's transaction (`begin`)."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        with engine.begin() as connection:
            one_at_a_time(connection, "tables")
            metadata.create_all(connection)
            worklist_tables.metadata.create_all(connection)
            for index in delivery.indexes:  # a ledger of an older version lacks them
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    @property
    def is_shared(self) -> bool:
        """Whether processes of several hosts may work on it."""
        return self.engine.dialect.name == "postgresql"

    def begin(self) -> Any:
        """Open a transaction: ``with ledger.begin() as connection``."""
        return self.engine.begin()

    def _insert_new(self, connection: sa.Connection, table: sa.Table, **values: Any) -> int | None:
        """Insert a row; None when a unique key is already there."""
        statement = insert_into(connection, table).values(**values).on_conflict_do_nothing()
        return connection.execute(statement.returning(table.c.id)).scalar()

    def add_arrival(self, connection: sa.Connection, arrival: Arrival) -> int | None:
        """Record an instance; None when the very same data set is known already.

        Another data set under a SOP Instance UID that is being read, or was, is kept and held: it is not ours
        to choose, and what was made of it has UIDs that follow from this one. After one that was held or
        skipped it is read: a site may correct what it sent.
        """
        if self.is_shared:
            one_at_a_time(connection, str(arrival.sop_instance_uid))
        values = asdict(arrival)
        study_uid, accession_digest = values.pop("study_instance_uid"), values.pop("accession_digest")
        if study_uid is not None:
            values["study_id"] = self._study_id(connection, study_uid, arrival.received_at)
            if accession_digest is not None:
                named = insert_into(connection, accession).values(
                    digest=accession_digest, study_id=values["study_id"]
                )
                connection.execute(named.on_conflict_do_nothing())
        if arrival.decision is None and self._is_known(connection, arrival):
            values |= {
                "decision": "hold",
                "rung": "sop-instance-uid",
                "reason": OTHER_CONTENT,
            }
        new = self._insert_new(connection, instance, **values)
        if new is not None and study_uid is not None and values["decision"] is None:
            older = (study.c.id == values["study_id"]) & (study.c.last_arrival < arrival.received_at)
            connection.execute(sa.update(study).where(older).values(last_arrival=arrival.received_at))
        return new

    def _study_id(self, connection: sa.Connection, uid: str, now: float) -> int:
        """Find or make the study, and hold it: retention might be about to delete it."""
        new = insert_into(connection, study).values(study_instance_uid=uid, last_arrival=now)
        held = new.on_conflict_do_update(
            index_elements=[study.c.study_instance_uid], set_={"last_arrival": study.c.last_arrival}
        )
        return int(connection.execute(held.returning(study.c.id)).scalar_one())

    def _is_known(self, connection: sa.Connection, arrival: Arrival) -> bool:
        made_of_it = sa.exists().where(result.c.instance_id == instance.c.id)
        same = sa.select(instance.c.id).where(
            instance.c.sop_instance_uid == arrival.sop_instance_uid,
            instance.c.digest != arrival.digest,
            instance.c.file.is_not(None),
            sa.or_(instance.c.decision.is_(None), instance.c.decision == "accept", made_of_it),
        )
        return connection.execute(same).first() is not None

    def decision(self, connection: sa.Connection, instance_id: int) -> tuple[str | None, str | None]:
        """Look up decision and reason; both None while the instance waits for its analysis."""
        query = sa.select(instance.c.decision, instance.c.reason).where(instance.c.id == instance_id)
        row = connection.execute(query).one()
        return row.decision, row.reason

    def instance(self, connection: sa.Connection, instance_id: int) -> InstanceRow:
        """One instance that intake kept."""
        return _instance_row(
            connection.execute(sa.select(instance).where(instance.c.id == instance_id)).one()
        )

    def decide(
        self, connection: sa.Connection, instance_id: int, *, decision: str, rung: str, reason: str
    ) -> bool:
        """Record the decision on a waiting instance; False when there is one already."""
        statement = (
            sa.update(instance)
            .where(instance.c.id == instance_id, instance.c.decision.is_(None))
            .values(decision=decision, rung=rung, reason=reason)
        )
        return connection.execute(statement).rowcount == 1

    def add_findings(
        self, connection: sa.Connection, instance_id: int, findings: Findings, quality: tuple[str, ...]
    ) -> None:
        """Record what inference said of an accepted instance."""
        values = {"findings": asdict(findings), "quality": list(quality)}
        connection.execute(sa.update(instance).where(instance.c.id == instance_id).values(**values))

    def add_result(self, connection: sa.Connection, made: MadeObject) -> int | None:
        """Record an object of ours; None when it was recorded before."""
        return self._insert_new(connection, result, **asdict(made) | {"sources": list(made.sources)})

    def has_result(self, connection: sa.Connection, sop_instance_uid: str) -> bool:
        """Whether an object of ours was recorded under this UID."""
        query = sa.select(result.c.id).where(result.c.sop_instance_uid == sop_instance_uid)
        return connection.execute(query).first() is not None

    def add_unmade(
        self, connection: sa.Connection, study_id: int, instance_id: int | None, reasons: tuple[str, ...]
    ) -> None:
        """Record, once, why optional objects are missing beside a picture of `instance_id` or the report."""
        query = sa.select(unmade.c.reason).where(unmade.c.study_id == study_id)
        of_same = query.where(unmade.c.instance_id.is_not_distinct_from(instance_id))
        known = set(connection.execute(of_same).scalars())
        for reason in reasons:
            if reason not in known:
                row = {"study_id": study_id, "instance_id": instance_id, "reason": reason}
                connection.execute(sa.insert(unmade).values(**row))

    def study_instances(self, connection: sa.Connection, study_id: int) -> tuple[InstanceRow, ...]:
        """All instances of a study whose files are kept, in the order of their arrival."""
        query = sa.select(instance).where(
            instance.c.study_id == study_id,
            instance.c.file.is_not(None),
            instance.c.file.not_in(sa.select(removed.c.file)),
        )
        return tuple(_instance_row(row) for row in connection.execute(query.order_by(instance.c.id)))

    def set_reported(self, connection: sa.Connection, instance_ids: tuple[int, ...]) -> None:
        """Record that a report says these instances, and that nothing is wrong with their study."""
        owner = sa.select(instance.c.study_id).where(instance.c.id.in_(instance_ids))
        connection.execute(sa.update(instance).where(instance.c.id.in_(instance_ids)).values(reported=True))
        connection.execute(sa.update(study).where(study.c.id.in_(owner)).values(problem=None))

    def unfinished(self, connection: sa.Connection) -> dict[str, tuple[int, ...]]:
        """Ids of the rows that a workflow must still act on, by the workflow's name."""
        accepted = (instance.c.decision == "accept") & instance.c.reported.is_(False)
        waiting = sa.select(instance.c.study_id).where(
            instance.c.decision.is_(None), instance.c.study_id.is_not(None)
        )
        asked = sa.select(rerun.c.study_id).where(rerun.c.done_at.is_(None), rerun.c.study_id.not_in(waiting))
        queries = {
            "analyse": sa.select(instance.c.id).where(instance.c.decision.is_(None)),
            "report": sa.select(sa.func.max(instance.c.id))
            .join(study, study.c.id == instance.c.study_id)
            .where(sa.or_(accepted & study.c.problem.is_(None), study.c.id.in_(asked)))
            .group_by(study.c.id),
        }
        found = {name: tuple(connection.execute(query).scalars()) for name, query in queries.items()}
        found |= {work: owed.waiting(connection, work) for work in owed.WORKS}
        return found | commitment_ledger.unfinished(connection) | messages.unfinished(connection)

    def set_problem(self, connection: sa.Connection, study_id: int, problem: str) -> None:
        """Record why the study has no (new) report."""
        connection.execute(sa.update(study).where(study.c.id == study_id).values(problem=problem))

    def study_results(self, connection: sa.Connection, study_id: int) -> tuple[ResultRow, ...]:
        """All objects made for a study, oldest first."""
        query = sa.select(result).where(result.c.study_id == study_id).order_by(result.c.id)
        return tuple(
            ResultRow(
                id=row.id,
                kind=row.kind,
                instance_id=row.instance_id,
                sop_instance_uid=row.sop_instance_uid,
                file=row.file,
                sources=tuple(row.sources),
            )
            for row in connection.execute(query)
        )


def _instance_row(row: Any) -> InstanceRow:
    return InstanceRow(
        id=row.id,
        study_id=row.study_id,
        source=row.source,
        received_at=row.received_at,
        file=row.file,
        decision=row.decision,
        reported=row.reported,
        findings=_findings(row.findings) if row.findings else None,
        quality=tuple(row.quality or ()),
    )


def _findings(document: dict[str, Any]) -> Findings:
    # Findings of a version that kept no codes stay readable; a report of them is refused with that reason.
    coded = document["model"].get("classes", ())
    model = document["model"] | {"classes": tuple(ClassCode(**code) for code in coded)}
    return Findings(
        scores=tuple(ClassScore(**score) for score in document["scores"]),
        model=ModelIdentity(**model),
        withheld=tuple(Withheld(**withheld) for withheld in document.get("withheld", ())),
    )


def open_ledger(url: str) -> Ledger:
    """Open the database at `url` and make its tables.

    Raises
    ------
    ConfigurationError
        When the database cannot be opened.
    """
    try:
        return Ledger(connect(url))
    except (OSError, ImportError, sa.exc.SQLAlchemyError) as error:
        # SQLAlchemy adds a line with an address of its own.
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"database.url: cannot open the ledger: {reason}") from error
