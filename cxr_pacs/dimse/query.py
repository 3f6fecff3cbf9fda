"""Query service (PS3.4 annex C), Study Root, as SCU: C-FIND, its keys and its ranges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from typing import Any

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import time
    StudyRootQueryRetrieveInformationModelFind,
)

from cxr_pacs.dimse.associations import Peer, associate
from cxr_pacs.errors import CxrPacsError, DestinationUnavailable, RetrievalRefused

__all__ = [
    "Query",
    "failure",
    "find_contexts",
    "identifier",
    "querying",
    "study_date_and_time",
    "value",
    "values",
]

# PS3.4 C.4.1.1.4, C.4.2.1.5 and C.4.3.1.4
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
CANCEL = 0xFE00
OUT_OF_RESOURCES = 0xA700
DESTINATION_UNKNOWN = 0xA801

_LAST_SECOND = time(23, 59, 59)


def study_date_and_time(since: datetime, until: datetime | None) -> tuple[tuple[str, str], ...]:
    """Write the keys Study Date and Study Time of the queries that together ask for a range.

    An SCP matches date and time apart from each other (PS3.4 C.2.2.2.5): a range of times holds for each day
    of a range of dates. So the days at the ends of the range are asked alone, where only a part of them
    belongs to it. A key for whole days has no time, and finds studies without Study Time too.

    Parameters
    ----------
    since, until : datetime
        First and last second, local time of the archive and without a time zone; `until` None is open.

    Returns
    -------
    tuple of (DA range, TM range)
        Disjoint; an empty TM means any time. Empty when `until` is before `since`.
    """
    since = since.replace(microsecond=0)
    if until is not None and until < since:
        return ()
    begins = since.time() == time.min
    ends = until is None or until.time() >= _LAST_SECOND
    first, last = since.date(), None if until is None else until.date()
    if until is not None and first == last and not (begins and ends):
        return ((f"{first:%Y%m%d}", f"{since:%H%M%S}-{until:%H%M%S}"),)
    head = () if begins else ((f"{first:%Y%m%d}", f"{since:%H%M%S}-"),)
    tail = () if ends or until is None else ((f"{until:%Y%m%d}", f"-{until:%H%M%S}"),)
    whole_from = first if begins else first + timedelta(days=1)
    if last is None:
        return (*head, (f"{whole_from:%Y%m%d}-", ""))
    whole_to = last if ends else last - timedelta(days=1)
    if whole_from > whole_to:
        return (*head, *tail)
    days = f"{whole_from:%Y%m%d}" if whole_from == whole_to else f"{whole_from:%Y%m%d}-{whole_to:%Y%m%d}"
    return (*head, (days, ""), *tail)


def identifier(level: str, **keys: Any) -> Dataset:
    """Build the identifier of a query or a retrieval at `level`, with `keys` by keyword; "" asks back."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, key in keys.items():
        setattr(asked, keyword, key)
    return asked


def values(match: Dataset, keyword: str) -> tuple[str, ...]:
    """Values of an element of an answer, without blanks; none where it is absent or cannot be read."""
    try:
        found = match.get(keyword)
    except (ValueError, TypeError, NotImplementedError, UnicodeError):  # what pydicom raises of a bad value
        return ()
    many = found if isinstance(found, (list, tuple)) or hasattr(found, "append") else [found]
    return tuple(text for one in many if one is not None and (text := str(one).strip()))


def value(match: Dataset, keyword: str) -> str:
    """First of `values`, or an empty string."""
    return next(iter(values(match, keyword)), "")


class Query:
    """C-FIND after C-FIND on one association; made by `querying`."""

    def __init__(self, association: Association, peer: Peer) -> None:
        self._association = association
        self._peer = peer

    def find(self, asked: Dataset, limit: int) -> tuple[Dataset, ...]:
        """Ask for what matches `asked`; keys above its level must be unique keys (PS3.4 C.4.1.2.1).

        Raises
        ------
        DestinationUnavailable
            No answer in time, an abort, out of resources (A7xx), or cancelled.
        RetrievalRefused
            Any other failure (A900, Cxxx); more matches than `limit`; a match that cannot be read.
        """
        what = f"the C-FIND at {str(asked.QueryRetrieveLevel).lower()} level"
        matches: list[Dataset] = []
        try:
            answers = self._association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind)
        except RuntimeError as error:  # pynetdicom's word for an association that ended meanwhile
            raise DestinationUnavailable(f"{self._peer} ended the association before {what}") from error
        for status, match in answers:
            code = status.get("Status")
            if code == SUCCESS:
                return tuple(matches)
            if code not in PENDING:
                raise failure(self._peer, what, code)
            if match is None or len(matches) == limit:
                self._association.abort()
                wrong = "a match that cannot be read" if match is None else f"more than {limit} matches"
                raise RetrievalRefused(f"{self._peer} answered {what} with {wrong}")
            matches.append(match)
        raise failure(self._peer, what, None)


def find_contexts() -> tuple[PresentationContext, ...]:
    """Presentation contexts that `querying` proposes."""
    return (build_context(StudyRootQueryRetrieveInformationModelFind),)


@contextmanager
def querying(calling_ae_title: str, peer: Peer) -> Iterator[Query]:
    """Open an association for queries in the Study Root model; raises as `associate`."""
    with associate(calling_ae_title, peer, find_contexts()) as association:
        yield Query(association, peer)


def failure(peer: Peer, what: str, status: int | None) -> CxrPacsError:
    """Say which error a final `status` of C-FIND, C-GET or C-MOVE is; None means no answer."""
    if status is None:
        return DestinationUnavailable(f"{peer} did not answer {what}, or ended the association")
    if status == CANCEL:
        return DestinationUnavailable(f"{peer} cancelled {what}")
    sentence = f"{peer} answered {what} with status {status:04X}"
    if status == DESTINATION_UNKNOWN:
        # As a rejected association: it says nothing of what is asked for, and is mended any day.
        return DestinationUnavailable(f"{sentence}: it does not know our AE title as a move destination")
    if status & 0xFF00 == OUT_OF_RESOURCES:
        return DestinationUnavailable(f"{sentence}, out of resources: ask for a shorter range, or later")
    return RetrievalRefused(sentence)
