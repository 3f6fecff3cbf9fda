"""Intake: a received instance becomes a durable file and a ledger row, or is refused with a sentence."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from cxr_pacs.dimse import ReceivedInstance, RefusedContext
from cxr_pacs.errors import RefusedInstance, SpoolUnavailable, UnreadablePixels
from cxr_pacs.evidence import is_own_output
from cxr_pacs.gateway.accession import accession_digest
from cxr_pacs.gateway.ledger import Arrival, Ledger
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.radiograph import check_inflation
from cxr_pacs.radiograph.elements import text
from cxr_pacs.settings import DicomSettings

__all__ = ["Intake", "storage_classes"]

logger = logging.getLogger(__name__)

# PS3.4 Table B.2-1.
DATA_SET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

# PS3.5 9.1, but for components with leading zeros, which old equipment writes and every archive files.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def storage_classes(dicom: DicomSettings) -> tuple[str, ...]:
    """SOP classes that the Storage SCP negotiates."""
    classes = [
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        SecondaryCaptureImageStorage,
    ]
    if dicom.accept_for_processing:
        classes.append(DigitalXRayImageStorageForProcessing)
    return tuple(map(str, classes))


class Intake:
    """The one way in.

    Parameters
    ----------
    ledger, spool : Ledger, Spool
        Where an instance is kept.
    admit : callable
        Called before anything else is done; raises SpoolFull where the disk has no room.
    schedule : callable
        Called with (connection, instance id) in the transaction that records a kept instance, so that there
        is never a row without work or work without a row.
    namespace : UUID
        The site's, which keys the digests of accession numbers.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        admit: Callable[[], None],
        schedule: Callable[[sa.Connection, int], None],
        namespace: uuid.UUID,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._admit = admit
        self._schedule = schedule
        self._namespace = namespace
        self._clock = clock

    def receive(self, received: ReceivedInstance) -> None:
        """Return once file, directory and row are durable.

        The very same data set again changes nothing. Our own output, routed back, is recorded and not kept.

        Raises
        ------
        RefusedInstance
            The data set cannot be parsed, or its UIDs cannot be used; recorded in the ledger.
        SpoolUnavailable
            Disk or database did not take it, or the disk is above its watermark (SpoolFull).
        """
        self._admit()
        digest = hashlib.sha256(received.dataset).hexdigest()
        try:
            header, own = _parse(received)
            _check_identity(header, received)
        except RefusedInstance as error:
            self._record(
                Arrival(
                    # The same data set may come again with a request that fits it.
                    digest=_digest("refuse", digest, received.sop_class_uid, received.sop_instance_uid),
                    source=received.source,
                    received_at=self._clock(),
                    decision="refuse",
                    rung="intake",
                    reason=str(error),
                )
            )
            raise
        arrival = Arrival(
            digest=digest,
            source=received.source,
            received_at=self._clock(),
            sop_instance_uid=str(header.SOPInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
        )
        if own:
            reason = "This object was made by this software; it is not read again."
            self._record(replace(arrival, decision="skip", rung="own-output", reason=reason))
        else:
            file = self._spool.keep_original(digest, received.part10)
            self._record(
                replace(
                    arrival,
                    study_instance_uid=str(header.StudyInstanceUID),
                    accession_digest=accession_digest(self._namespace, text(header, "AccessionNumber")),
                    file=file,
                )
            )

    def refuse_contexts(self, refused: Sequence[RefusedContext]) -> None:
        """Record, once for each peer and SOP class, the proposals of an association that were not accepted.

        In one transaction: archives propose a hundred at once, and wait.
        """
        arrivals = [self._refused(one) for one in refused if _UID.fullmatch(one.abstract_syntax)]
        try:
            with self._ledger.begin() as connection:
                new = [one for one in arrivals if self._ledger.add_arrival(connection, one) is not None]
        except sa.exc.SQLAlchemyError as error:
            logger.warning("proposals that were not accepted: not recorded: %s", type(error).__name__)
            return
        for one in new:
            logger.info("from %s: %s", one.source, one.reason)

    def _refused(self, context: RefusedContext) -> Arrival:
        name = UID(context.abstract_syntax).name
        why = (
            "it decodes none of the proposed transfer syntaxes"
            if context.class_is_read
            else "it reads others"
        )
        return Arrival(
            digest=_digest("context", context.calling_ae_title, context.abstract_syntax),
            source=context.calling_ae_title,
            received_at=self._clock(),
            sop_class_uid=context.abstract_syntax,
            decision="refuse",
            rung="presentation-context",
            reason=f"{name} was proposed; the gateway did not accept it: {why}.",
        )

    def _record(self, arrival: Arrival) -> None:
        try:
            with self._ledger.begin() as connection:
                instance_id = self._ledger.add_arrival(connection, arrival)
                if instance_id is None:
                    logger.info("from %s: known already", arrival.source)
                    return
                decision, reason = self._ledger.decision(connection, instance_id)
                if arrival.file is not None:
                    self._schedule(connection, instance_id)
        except sa.exc.SQLAlchemyError as error:
            raise SpoolUnavailable(f"the ledger did not take a row: {type(error).__name__}") from error
        logger.info(
            "instance %d from %s: %s %s", instance_id, arrival.source, decision or "received", reason or ""
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _parse(received: ReceivedInstance) -> tuple[Dataset, bool]:
    """Header, and whether it is one of ours; here alone is a deflated data set limited, before it is kept."""
    try:
        if received.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            check_inflation(received.dataset)
        header = dcmread(io.BytesIO(received.part10), stop_before_pixels=True)
        own = is_own_output(header)
        # pydicom parses lazily: these four must be readable now.
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            header.get(keyword)
    except UnreadablePixels as error:
        raise RefusedInstance(str(error), status=CANNOT_UNDERSTAND) from error
    except Exception as error:  # noqa: BLE001  pydicom raises many kinds for bytes that are not a data set
        raise RefusedInstance(
            f"The data set cannot be parsed ({type(error).__name__}).", status=CANNOT_UNDERSTAND
        ) from None
    return header, own


def _check_identity(header: Dataset, received: ReceivedInstance) -> None:
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = header.get(keyword)
        if value is None or not str(value):
            raise RefusedInstance(
                f"{keyword} is missing: the result could not be filed.", status=DATA_SET_DOES_NOT_MATCH
            )
        if len(value) > 64 or not _UID.fullmatch(str(value)):
            raise RefusedInstance(
                f"{keyword} is not a valid UID (PS3.5 9.1).", status=DATA_SET_DOES_NOT_MATCH
            )
    if (header.SOPClassUID, header.SOPInstanceUID) != (received.sop_class_uid, received.sop_instance_uid):
        raise RefusedInstance(
            "SOP Class or SOP Instance UID differ between the C-STORE request and the data set.",
            status=DATA_SET_DOES_NOT_MATCH,
        )
