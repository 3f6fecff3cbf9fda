"""What the statement says of storage commitment, in both roles."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID

from cxr_pacs.dimse.commitment import FAILURE_REASONS, commitment_context
from cxr_pacs.gateway.commitment import MOST_REPEATS
from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import Settings

__all__ = ["SOP_CLASS", "contexts", "paragraphs", "role_selection"]

SOP_CLASS = str(commitment_context().abstract_syntax)


def role_selection(settings: Settings) -> str:
    """State which roles are negotiated."""
    if not settings.committing and not settings.commitment.provide:
        return "else not supported"
    return f"either role of {UID(SOP_CLASS).name}; else not supported"


def contexts(settings: Settings) -> Iterator[tuple[str, UID, str, UID]]:
    """List what is proposed: as the user to ask, as the provider to report."""
    if settings.committing or settings.commitment.provide:
        context = commitment_context()
        for transfer in context.transfer_syntax:
            yield UID(SOP_CLASS).name, UID(SOP_CLASS), UID(transfer).name, UID(transfer)


def paragraphs(settings: Settings) -> Iterator[str]:
    """Tell the behaviour in each role, and the SCP operations statement (PS3.4 J.5)."""
    if settings.committing:
        yield from _user(settings)
    else:
        yield "No destination is asked for commitment."
    if settings.commitment.provide:
        yield from _provider(settings)
    else:
        yield "No commitment is given: where the class is negotiated, an N-ACTION is answered with 0124."


def _user(settings: Settings) -> Iterator[str]:
    pace = settings.commitment
    names = ", ".join(d.name for d in settings.committing)
    yield (
        f"User (SCU). Asked: {names}. Objects of one study that were delivered within {pace.gather:g} s "
        "are named in one transaction, whose UID is known for as long as the ledger knows the study. "
        f"The association of the N-ACTION stays open for {pace.wait:g} s. A report is taken on it, or at any "
        "later time on an association that the provider opens, in either role; a report for a transaction "
        "that is not known is answered with 0115, one that cannot be kept with 0110."
    )
    yield (
        f"Without a report within {pace.report_within:g} s, and twice as long each further time, the "
        f"objects are asked for in a new transaction, {MOST_REPEATS} times. So they are after these "
        "Failure Reasons, of which 0112 sends the object again before:"
    )
    behaviour = {0x0119: "for a person", 0x0122: "for a person", 0x0112: "sent and asked for again"}
    rows = (
        (f"{code:04X}", meaning, behaviour.get(code, "asked for again"))
        for code, meaning in FAILURE_REASONS.items()
    )
    yield table(("Failure Reason", "Meaning", "The object is"), rows)


def _provider(settings: Settings) -> Iterator[str]:
    days = settings.retention.files_days
    kept = f"at least {days} days beyond the last activity of their study" if days else "without a time limit"
    yield (
        "Provider (SCP). A request is kept before it is answered with 0000. Its report vouches for each "
        "instance that was received under that SOP Instance UID and SOP Class UID and lies in the spool "
        "at that moment; it gives 0119 for another class, else 0112. It is sent on the association of the "
        "request if that is open a second later, else on a new one, with the SCP role proposed, to the "
        "address in the table; it is repeated like a delivery."
    )
    yield (
        f"Operations statement: the gateway is not an archive. Instances are kept on its disk {kept}, "
        "as safe as that disk is, and cannot be retrieved by query. Storage Media File-Set ID and UID "
        "are not supported."
    )
    modalities = ((m.ae_title, m.host, m.port) for m in settings.modality)
    yield table(("AE title of the modality", "Host", "Port"), modalities)
    statuses = (
        ("0112", "No such SOP instance", "It is not the well-known instance of the class."),
        ("0115", "Invalid argument value", "UIDs are missing, or the transaction named others before."),
        ("0123", "No such action", "The action type is not 1."),
        ("0213", "Resource limitation", "The ledger did not take the request."),
        ("0110", "Processing failure", "An error that was not foreseen."),
    )
    yield table(("Status of N-ACTION", "Meaning", "When"), statuses)
