"""What the statement says of the worklist as it is served (PS3.4 K.6.1.4, PS3.2 N.7.3.2.1)."""

from __future__ import annotations

from collections.abc import Iterator

from cxr_pacs.dimse import AskedWorklist, FoundWorklist, Service, worklist_scp
from cxr_pacs.dimse.query import CANCEL, OUT_OF_RESOURCES
from cxr_pacs.dimse.worklist import ALL_SUPPORTED, NOT_ALL_SUPPORTED
from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import Settings
from cxr_pacs.worklist.query import CANNOT_PROCESS, DOES_NOT_MATCH_SOP_CLASS

__all__ = ["extended_negotiation", "paragraphs", "service"]


def service(settings: Settings) -> Service | None:
    """Give what is negotiated; None where no worklist is served."""
    return worklist_scp(_unasked, settings.worklist.most_answers) if settings.worklist.serve else None


def extended_negotiation(settings: Settings) -> str:
    """State which is negotiated."""
    return (
        "fuzzy matching of names in the worklist; else none" if settings.worklist.serve else "not supported"
    )


def paragraphs(settings: Settings) -> Iterator[str]:
    """Tell what is matched, how, what comes back, and the statuses."""
    if not settings.worklist.serve:
        yield "No worklist is served."
        return
    limit = settings.worklist.most_answers
    yield (
        "All attributes of Table K.6-1 are matching keys and return keys, those of the other modules of the "
        "information model too; within a sequence every attribute of the standard. Others, and private ones, "
        "are left out of the answers, which then have FF01. What is asked for and has no value is answered "
        "with zero length. An item that is completed, discontinued or cancelled is not answered; Scheduled "
        "Procedure Step Status is the state that the item has here; it begins as its source says (SCHEDULED, "
        "ARRIVED, READY)."
    )
    names = "always" if settings.worklist.fuzzy_names else "where it is negotiated (K.5)"
    yield (
        "Single value, list of UIDs, wildcard (AE, CS, LO, LT, PN, SH, ST, UC, UR, UT), range, sequence and "
        "universal matching. Dates and times of less precision mean all that begins with them. Start date "
        "and start time, both as ranges, are one interval from the first date and time to the last. IS and "
        "DS are compared as numbers. Person names are compared without regard to case, group by group, by a "
        "wildcard with all trailing delimiters, too; a key of one component group may be any of the three. "
        "Fuzzy matching of names, by word, by sound (Soundex) and without accents: "
        f"{names}. Other text is compared by its case, as Unicode (NFC)."
    )
    yield (
        "Every character set of the standard is accepted. An answer is in the set of the query where that "
        "can hold it, else in ISO_IR 100, else in ISO_IR 192."
    )
    most = f"More than {limit} items match; {limit} were answered" if limit else "Never: there is no limit"
    statuses = (
        (0x0000, "Matching is complete", "All that matches was answered."),
        (ALL_SUPPORTED, "Pending", "An answer; every key was supported."),
        (NOT_ALL_SUPPORTED, "Pending, with a warning", "An answer; some key is not supported."),
        (CANCEL, "Cancelled", "A C-CANCEL came."),
        (OUT_OF_RESOURCES, "Refused: out of resources", f"{most}."),
        (
            DOES_NOT_MATCH_SOP_CLASS,
            "Identifier does not match SOP class",
            (
                "Scheduled Procedure Step Sequence is missing, a sequence has several items, or a key is "
                "none that its value representation allows: a wildcard, a backwards range, no such day."
            ),
        ),
        (
            CANNOT_PROCESS,
            "Unable to process",
            "The character set is not known, a value is not in it, or an error that was not foreseen.",
        ),
    )
    yield "Failures come with Offending Element and Error Comment, which holds no value of the query."
    yield table(("Status of C-FIND", "Meaning", "When"), ((f"{code:04X}", *told) for code, *told in statuses))


def _unasked(_asked: AskedWorklist) -> FoundWorklist:
    raise NotImplementedError("only what is negotiated is looked at")
