"""An image is accepted once: what is made of it gets its name, and other content under its UID is held."""

from __future__ import annotations

from pathlib import Path

from cxr_pacs.gateway.bulk.journal import Journal
from cxr_pacs.gateway.bulk.objects import discard, settle
from cxr_pacs.gateway.bulk.outcome import FileOutcome
from cxr_pacs.gateway.ledger import OTHER_CONTENT
from cxr_pacs.radiograph import Decision, Outcome

__all__ = ["accepted_once"]


def accepted_once(outcome: FileOutcome, journal: Journal, folder: Path) -> FileOutcome:
    """Name the objects of an accepted image; hold it where its UID belongs to other content.

    The UIDs of what is made follow from that of the image: both could not be told apart. Two copies of one
    image are both accepted, and the objects are there once.
    """
    uid, content = outcome.sop_instance_uid, outcome.content
    if not outcome.accepted or uid is None or content is None:
        return outcome
    if journal.claim(uid, content):
        settle(outcome.objects, folder, content)
        return outcome
    discard(outcome.objects, folder, content)
    return FileOutcome(
        decision=Decision(outcome=Outcome.HOLD, rung="sop-instance-uid", reason=OTHER_CONTENT),
        sop_instance_uid=uid,
        study_instance_uid=outcome.study_instance_uid,
    )
