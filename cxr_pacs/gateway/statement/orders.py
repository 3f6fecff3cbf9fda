"""What the statement says of orders that are looked up for arriving images (PS3.4 annex K, as SCU)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.datadict import dictionary_description
from pydicom.uid import UID

from cxr_pacs.dimse import worklist
from cxr_pacs.gateway.order_check.asking import ASKED_BACK, MOST_ANSWERS
from cxr_pacs.gateway.order_check.comparison import COMPARED
from cxr_pacs.gateway.statement.markdown import table
from cxr_pacs.settings import Settings

__all__ = ["paragraphs"]


def paragraphs(settings: Settings) -> Iterator[str]:
    """Tell which worklist is asked, for what, and what follows."""
    check = settings.order_check
    if check.worklist == "none":
        yield "Not asked."
        return
    if check.worklist == "own":
        yield "Orders are looked up in the gateway's own worklist, without the network."
    else:
        yield from _remote(settings)
    compared = ", ".join(map(dictionary_description, COMPARED))
    yield (
        "An image that would be read is looked up by Accession Number, else by Scheduled Procedure Step ID, "
        "else by Study Instance UID; an order with another Accession Number and another Study Instance UID "
        "is not its own. It is held where it and its order have different values of one of "
        f"these: {compared}; names by components, without regard to case and accents. What is empty on "
        "either side says nothing. It is held, too, where every order of the Accession Number at its root is "
        "of another patient. Where they agree, Referenced Request Sequence of structured documents has "
        "the order's values for what the image leaves empty."
    )


def _remote(settings: Settings) -> Iterator[str]:
    check = settings.order_check
    yield (
        f"As user (SCU), {check.ae_title} at {check.host}, port {check.port}, is asked by C-FIND, each time "
        f"on an association of its own; after {MOST_ANSWERS} answers the query is cancelled. Where none of "
        "so many has the step ID or the Study Instance UID, it is taken not to match by that key. If it does "
        f"not answer, or refuses, it is asked again for {check.patience:g} s; then the image is read without."
    )
    yield "Presentation contexts proposed:"
    rows = (
        (UID(str(context.abstract_syntax)).name, str(context.abstract_syntax), UID(syntax).name, syntax)
        for context in worklist.worklist_contexts()
        for syntax in context.transfer_syntax
    )
    yield table(("Abstract syntax", "UID", "Transfer syntax", "UID"), rows)
    back = ", ".join(map(dictionary_description, ASKED_BACK))
    yield f"Asked back: {back}, and Scheduled Procedure Step ID."
