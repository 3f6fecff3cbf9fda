"""HL7 orders become worklist items, and each message its answer."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from cxr_pacs.errors import RefusedItem, RefusedMessage, kind_and_place
from cxr_pacs.hl7v2 import Header, Message, Order, acknowledge, orders_of
from cxr_pacs.hl7v2.message import with_segment_ends
from cxr_pacs.ordering import Hl7Settings
from cxr_pacs.worklist import FINAL_STATES, StepState, StoredItem, Worklist, WorklistItem
from cxr_pacs.worklist.assembling import assembled, study_instance_uid
from cxr_pacs.worklist.messages import Known, take_message
from cxr_pacs.worklist.removal import cancel

__all__ = ["ORIGIN", "OrderIntake"]

logger = logging.getLogger(__name__)

ORIGIN: Final = "hl7"
_MESSAGES: Final[Mapping[str, str]] = {"ORM": "O01", "OMI": "O23"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntake:
    """Takes messages, one or many at a time.

    Attributes
    ----------
    worklist : Worklist
    settings : Hl7Settings
    namespace : uuid.UUID
        Of the site, for the Study Instance UIDs that orders leave out.
    clock : callable
        Seconds since the epoch.
    """

    worklist: Worklist
    settings: Hl7Settings
    namespace: uuid.UUID
    clock: Callable[[], float] = time.time

    def answer(self, content: bytes, refused: RefusedMessage | None = None) -> bytes:
        """
        Take a message and give its answer; AA once all that it changes is committed.

        Parameters
        ----------
        content : bytes
        refused : RefusedMessage or None
            Why there is only the beginning of one.
        """
        content = with_segment_ends(content)
        header = Header.of(content)
        try:
            if refused is not None:
                raise refused
            done = self._take(content)
        except RefusedMessage as error:
            logger.warning("hl7: a message was answered %s: %s", error.answer, error)
            refused = error
        except sa.exc.SQLAlchemyError as error:
            logger.error("hl7: a message was answered AR: %s", kind_and_place(error))  # noqa: TRY400
            refused = RefusedMessage(
                "The worklist takes none now: send it again later", answer="AR", code=207
            )
        else:
            logger.info("hl7: a message was taken: %s", done)
        now = datetime.fromtimestamp(self.clock(), UTC).astimezone()
        return acknowledge(header, now, uuid.uuid4().hex[:20], refused)

    def _take(self, content: bytes) -> str:
        message = Message.parse(content, self.settings.character_set)
        _check_kind(message.header)
        orders = orders_of(message, self.settings.all_fields)
        self._check_distinct(orders)
        sender = "\\".join(message.header[number] for number in (3, 4, 10))
        with self.worklist.begin() as connection:
            known = take_message(connection, sender, content.partition(b"\r")[2], self.clock())
            if known is Known.OTHER:
                logger.warning("hl7: %s: this one is taken as a new one", known.value)
            if known is Known.SAME:
                return str(known.value)
            done = Counter(self._apply(connection, order) for order in orders)
        return ", ".join(f"{many} {what}" for what, many in sorted(done.items()))

    def _apply(self, connection: sa.Connection, order: Order) -> str:
        settings = self.settings
        if self._puts(order):
            found = self._item(order)
            self._check_patient(connection, found, order)
            put = self.worklist.put(connection, [found], ORIGIN, self.clock())
            if put.completed and order.control in settings.new:
                raise _locked(order, StepState.COMPLETED)
            return "new" if put.added else "changed" if put.changed else "as before"
        if order.control in settings.cancelled:
            return self._cancel(connection, order)
        if order.control in settings.discontinued:
            return self._discontinue(connection, order)
        if order.control in settings.status:
            return self._set_status(connection, order)
        raise RefusedMessage(
            "ORC-1: not an order control code of the settings [hl7]",
            answer="AE",
            code=103,
            place=f"{order.orc}^1",
        )

    def _puts(self, order: Order) -> bool:
        return order.control in (*self.settings.new, *self.settings.changed)

    def _check_distinct(self, orders: Iterable[Order]) -> None:
        seen: set[tuple[str, ...]] = set()
        for order in filter(self._puts, orders):
            identified = tuple(order.values.get(keyword, "") for keyword in _OF_KEY)
            if identified in seen:
                place = order.places.get("ScheduledProcedureStepID", "")
                said = f"{_field(place)}: the message has this order and step twice: give one another step ID"
                raise RefusedMessage(said, answer="AE", code=205, place=place)
            seen.add(identified)

    def _check_patient(self, connection: sa.Connection, found: WorklistItem, order: Order) -> None:
        """Refuse to give a patient's order to another one; where it is right, it is cancelled before."""
        known = self.worklist.of_order(connection, accession_number=found.text("AccessionNumber"))
        for one in known:
            if one.item.key == found.key and one.state is not StepState.CANCELLED:
                for keyword in ("PatientID", "IssuerOfPatientID"):
                    before, now = one.item.text(keyword), found.text(keyword)
                    if before and now and before != now:
                        raise _of_another_patient(order)

    def _item(self, order: Order) -> WorklistItem:
        values = dict(order.values)
        if not values.get("AccessionNumber"):
            # Other numbers are drawn anew for each patient, or by each sender.
            place = order.places.get("AccessionNumber", "")
            said = f"{_field(place)}: there is no accession number"
            raise RefusedMessage(said, answer="AE", code=101, place=place)
        if not values.get("ScheduledStationAETitle"):
            values["ScheduledStationAETitle"] = self.settings.station_of.get(values.get("Modality", ""), "")
        if not values.get("StudyInstanceUID"):
            values["StudyInstanceUID"] = study_instance_uid(self.namespace, values)
        try:
            return WorklistItem.of(assembled(values))
        except RefusedItem as error:
            raise _of_item(error, order) from None

    def _cancel(self, connection: sa.Connection, order: Order) -> str:
        removed = cancel(connection, self._meant(connection, order), self.clock())
        if removed.kept:
            raise _locked(order, removed.kept[0].state)
        return "cancelled"

    def _discontinue(self, connection: sa.Connection, order: Order) -> str:
        for one in self._meant(connection, order):
            if one.state is StepState.COMPLETED:
                raise _locked(order, one.state)
            self.worklist.set_state(connection, one.id, StepState.DISCONTINUED, self.clock())
        return "discontinued"

    def _set_status(self, connection: sa.Connection, order: Order) -> str:
        state = self.settings.status_states.get(order.status)
        meant = self._meant(connection, order)
        if state is None:
            return "of a status that changes nothing"
        if state is StepState.CANCELLED:
            return self._cancel(connection, order)
        for one in meant:
            if one.state not in FINAL_STATES:
                self.worklist.set_state(connection, one.id, state, self.clock())
        return str(state).lower()

    def _meant(self, connection: sa.Connection, order: Order) -> Sequence[StoredItem]:
        """Find the items of an order by all the identifiers that it gives."""
        values = order.values
        given = {
            "accession_number": values.get("AccessionNumber", ""),
            "step_id": values.get("ScheduledProcedureStepID", ""),
            "study_uid": values.get("StudyInstanceUID", ""),
        }
        place = order.places.get("AccessionNumber", "")
        if not any(given.values()):
            said = f"{_field(place)}: the order is not identified"
            raise RefusedMessage(said, answer="AE", code=101, place=place)
        found = [
            one
            for one in self.worklist.of_order(connection, **given)
            if _agrees(one.item, values, _IDENTIFYING)
        ]
        if not found:
            said = f"{_field(place)}: no such order is known"
            raise RefusedMessage(said, answer="AE", code=204, place=place)
        if not all(_agrees(one.item, values, ("PatientID",)) for one in found):
            raise _of_another_patient(order)
        return found


_OF_KEY: Final = ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID")
_IDENTIFYING: Final = (*_OF_KEY, "StudyInstanceUID")


def _agrees(item: WorklistItem, values: Mapping[str, str], keywords: Iterable[str]) -> bool:
    own = {keyword: item.text(keyword) for keyword in keywords} | {"ScheduledProcedureStepID": item.step_id}
    return all(own[keyword] == values[keyword] for keyword in keywords if values.get(keyword))


def _check_kind(header: Header) -> None:
    kind, event = header.component(9, 1), header.component(9, 2)
    if not header[10]:
        raise RefusedMessage("MSH-10: there is no control ID", answer="AR", code=101, place="MSH^1^10")
    if kind not in _MESSAGES:
        said = "MSH-9: the message is neither ORM^O01 nor OMI^O23"
        raise RefusedMessage(said, answer="AR", code=200, place="MSH^1^9")
    if event != _MESSAGES[kind]:
        raise RefusedMessage("MSH-9: an unsupported event", answer="AR", code=201, place="MSH^1^9")
    if header[12] and not header[12].startswith("2."):
        raise RefusedMessage("MSH-12: not HL7 version 2", answer="AR", code=203, place="MSH^1^12")


def _of_item(error: RefusedItem, order: Order) -> RefusedMessage:
    """Say by its field what is wrong with an attribute."""
    keyword = error.attribute.rpartition(".")[2]
    place = order.places.get(error.attribute) or order.places.get(keyword, "")
    code = 102 if order.values.get(error.attribute) else 101
    return RefusedMessage(f"{_field(place)}: {error}", answer="AE", code=code, place=place)


def _of_another_patient(order: Order) -> RefusedMessage:
    place = order.places.get("PatientID", "")
    said = f"{_field(place)}: the order is of another patient"
    return RefusedMessage(said, answer="AE", code=204, place=place)


def _locked(order: Order, state: StepState) -> RefusedMessage:
    said = f"ORC-1: the procedure step is {state}, and stays so"
    return RefusedMessage(said, answer="AE", code=206, place=f"{order.orc}^1")


def _field(place: str) -> str:
    segment, _, rest = place.partition("^")
    return f"{segment}-{rest.rpartition('^')[2]}"
