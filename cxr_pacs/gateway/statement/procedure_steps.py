"""What the statement says of performed procedure steps (PS3.4 F.7.4) and of availability (R.3.4)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from cxr_pacs.dimse.availability import availability_context
from cxr_pacs.dimse.mpps import performed_step_context
from cxr_pacs.dimse.mpps_attributes import NOT_ALLOWED_IN_N_SET
from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import DicomDestination, Settings

__all__ = ["availability", "context_rows", "contexts", "paragraphs"]

_STATUSES = (
    ("0000", "Success", "The step, and what follows for worklist items, are in the database."),
    ("0105", "No such attribute", "N-SET: it may not be set, or was not created."),
    (
        "0106",
        "Invalid attribute value",
        "Not created IN PROGRESS; a status is set that is none; text is not in its character set.",
    ),
    (
        "0110",
        "Processing failure",
        "With Error ID A710: the step is final. Else: the data set cannot be parsed.",
    ),
    ("0111", "Duplicate SOP instance", "N-CREATE: there is a step of this UID."),
    ("0112", "No such SOP instance", "N-SET: there is none."),
    ("0120, 0121", "Missing attribute, missing value", "What PS3.4 Table F.7.2-1 asks for is not there."),
    ("0213", "Resource limitation", "The database did not take it."),
)
_REPEATED = (
    "It is repeated like a delivery after 0110 without Error ID, 0213, no answer or no association, and "
    "parked with its reason after any other failure; 0001, 0107 and 0116 are success. After an answer that "
    "was lost, 0111, and 0110 with Error ID A710, mean that the operation was taken."
)


def paragraphs(settings: Settings) -> Iterator[str]:
    """Tell the behaviour as the provider, and as the user who sends steps on."""
    if not settings.mpps.serve:
        yield "Not provided."
        return
    yield from _provider(settings)
    peers = [(one.name, one.ae_title, one.host, one.port) for one in settings.mpps_destination]
    if peers:
        yield (
            "User (SCU). Each N-CREATE and N-SET that was answered with 0000 is sent on under the same SOP "
            "Instance UID and with the same attributes: to each of these, and for each step in its order. No "
            "other attribute is sent, and no state set by the gateway itself."
        )
        yield table(("Name", "AE title", "Host", "Port"), peers)
        yield _REPEATED


def availability(settings: Settings) -> Iterator[str]:
    """Tell when who is notified that instances are available."""
    peers = [
        (one.name, one.notify.ae_title, one.notify.host, one.notify.port)
        for one in settings.destination
        if isinstance(one, DicomDestination) and one.notify is not None
    ]
    if not peers:
        yield "Nobody is notified."
        return
    yield (
        "User (SCU). When no result of a study is on its way to the destination any more, the peer is told "
        "of those that it took and that were not named before. Instance Availability is ONLINE, which means "
        "that the destination answered their C-STORE with success or a warning; Retrieve AE Title is that of "
        "the destination. The performed procedure step is named where the gateway knows exactly one of the "
        "study. The SOP Instance UID follows from the destination and the instances, and a duplicate (0111) "
        "counts as told. No optional attribute is sent."
    )
    yield table(("Destination", "AE title told", "Host", "Port"), peers)
    yield _REPEATED


def contexts(settings: Settings) -> Iterator[PresentationContext]:
    """List what is proposed."""
    if settings.mpps_destination:
        yield performed_step_context()
    if any(isinstance(one, DicomDestination) and one.notify for one in settings.destination):
        yield availability_context()


def context_rows(settings: Settings) -> Iterator[tuple[str, UID, str, UID]]:
    """List what is proposed, as rows of a table."""
    for context in contexts(settings):
        abstract = UID(context.abstract_syntax or "")
        for transfer in context.transfer_syntax:
            yield abstract.name, abstract, UID(transfer).name, UID(transfer)


def _provider(settings: Settings) -> Iterator[str]:
    yield (
        "Provider (SCP). Every attribute is kept as it is sent, and none is coerced. An N-CREATE needs those "
        "of type 1 and 2 in PS3.4 Table F.7.2-1, the items of sequences included; an N-SET may set each that "
        "was created, but for those in the table; the final state needs end date, end time and one item "
        "in Performed Series Sequence. A step without SOP Instance UID is given one. Text of an N-SET in "
        "another character set makes the step Unicode."
    )
    yield table(("Not to be set",), ((keyword,) for keyword in sorted(NOT_ALLOWED_IN_N_SET)))
    yield table(("Status of N-CREATE and N-SET", "Meaning", "When"), _STATUSES)
    yield (
        "A step is of the worklist items with its Scheduled Procedure Step ID, in the same study or under "
        "the same accession number, and the same Requested Procedure ID where it names one. Such an item is "
        "STARTED while one of its steps is in progress, else COMPLETED once one was completed, else "
        "DISCONTINUED: a new step starts a final item again. A cancelled item stays so. A step that was not "
        "scheduled is kept alike."
    )
    yield (
        "A study is reported at once when no step of it is in progress, every image that its steps name "
        "and that can be received is here and decided, and no other image of it came. Else its steps change "
        "nothing. A step that was discontinued since the wrong worklist entry was selected (110514, DCM) "
        "does not count: an item without another step is SCHEDULED again, and the images that it names are "
        "held until an administrator releases them."
    )
    days = settings.retention.rows_days
    kept = f"{days} days after its last change" if days else "without a time limit"
    yield f"A step is kept {kept}; it can be neither retrieved nor subscribed to."
