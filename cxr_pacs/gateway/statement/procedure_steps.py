"""What the statement says of modality performed procedure steps (PS3.4 F.7.4)."""

from __future__ import annotations

from collections.abc import Iterator

from cxr_pacs.dimse.mpps_attributes import NOT_ALLOWED_IN_N_SET
from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import Settings

__all__ = ["paragraphs"]

_STATUSES = (
    ("0000", "Success", "The step, and what follows for worklist items, are in the database."),
    ("0105", "No such attribute", "N-SET: it may not be set, or was not created."),
    (
        "0106",
        "Invalid attribute value",
        "Another status than IN PROGRESS is created, or one is set that is none.",
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


def paragraphs(settings: Settings) -> Iterator[str]:
    """Tell the behaviour as the provider."""
    if not settings.mpps.serve:
        yield "Not provided."
        return
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
        "nothing."
    )
    days = settings.retention.rows_days
    kept = f"{days} days after its last change" if days else "without a time limit"
    yield f"A step is kept {kept}; it can be neither retrieved nor subscribed to."
