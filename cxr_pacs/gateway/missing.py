"""Which chest radiographs an archive has and the ledger does not know.

The archive is asked for studies by date, time and modality, then for their series and images. Left out is
only what is surely nothing for this gateway; what the archive does not tell is fetched, and the selection
decides after reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset

from cxr_pacs import dimse
from cxr_pacs.gateway.fetch_record import known_images
from cxr_pacs.gateway.ledger import Ledger
from cxr_pacs.radiograph import names_another_part

__all__ = ["LeftOut", "Look", "MissingStudy", "Wanted", "look"]

# More than any archive should be asked to list at once; the range can be shorter.
MOST_MATCHES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which studies are asked for.

    Attributes
    ----------
    since, until : datetime
        Study Date and Time, local time and without a time zone; `until` None is open.
    modalities : tuple of str
        Any of them.
    sop_classes : tuple of str
        What the gateway takes.
    studies : tuple of str
        Study Instance UIDs that are looked at whatever their date.
    """

    since: datetime
    until: datetime | None
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    studies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingStudy:
    """Images of a study that the ledger does not know, by Series Instance UID."""

    uid: str
    series: dict[str, tuple[str, ...]]

    @property
    def images(self) -> tuple[str, ...]:
        """SOP Instance UIDs of all series."""
        return tuple(uid for images in self.series.values() for uid in images)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A study, series or image that is not fetched, and why."""

    level: str
    uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an archive has.

    Attributes
    ----------
    studies : int
        That match.
    missing : tuple of MissingStudy
        Of which an image is not known yet.
    left_out : tuple of LeftOut
    """

    studies: int
    missing: tuple[MissingStudy, ...]
    left_out: tuple[LeftOut, ...]


def look(calling_ae_title: str, archive: dimse.Peer, wanted: Wanted, ledger: Ledger) -> Look:
    """Ask `archive`; raises as `dimse.querying` and `dimse.Query.find`."""
    with dimse.querying(calling_ae_title, archive) as query:
        return _Asking(query, wanted, ledger).look()


class _Asking:
    """One look, on one association."""

    def __init__(self, query: dimse.Query, wanted: Wanted, ledger: Ledger) -> None:
        self._query = query
        self._wanted = wanted
        self._ledger = ledger
        self._left_out: list[LeftOut] = []

    def look(self) -> Look:
        studies = tuple(dict.fromkeys((*self._studies(), *self._wanted.studies)))
        missing = [self._missing(study) for study in studies]
        return Look(
            studies=len(studies),
            missing=tuple(study for study in missing if study.series),
            left_out=tuple(self._left_out),
        )

    def _studies(self) -> tuple[str, ...]:
        """Study Instance UIDs; of an archive that does not match modalities those that may be radiography."""
        found: dict[str, frozenset[str]] = {}
        for date, time in dimse.study_date_and_time(self._wanted.since, self._wanted.until):
            # One modality in each query: a list is matched only after negotiation (PS3.4 C.2.2.2.2).
            for modality in self._wanted.modalities:
                asked = dimse.identifier(
                    "STUDY", StudyDate=date, StudyTime=time, ModalitiesInStudy=modality, StudyInstanceUID=""
                )
                for match in self._query.find(asked, MOST_MATCHES):
                    if uid := dimse.value(match, "StudyInstanceUID"):
                        found[uid] = frozenset(dimse.values(match, "ModalitiesInStudy"))
        return tuple(
            uid for uid, modalities in found.items() if self._is_radiography("study", uid, modalities)
        )

    def _missing(self, study: str) -> MissingStudy:
        images = {series: self._images(study, series) for series in self._series(study)}
        with self._ledger.begin() as connection:
            unknown = _unknown(connection, images)
        return MissingStudy(uid=study, series=unknown)

    def _series(self, study: str) -> Iterator[str]:
        asked = dimse.identifier(
            "SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="", BodyPartExamined=""
        )
        for match in self._find(asked, StudyInstanceUID=study):
            uid = dimse.value(match, "SeriesInstanceUID")
            if not uid or not self._is_radiography("series", uid, frozenset(dimse.values(match, "Modality"))):
                continue
            if names_another_part(dimse.value(match, "BodyPartExamined")):
                self._leave_out("series", uid, "Body Part Examined names another part than the chest")
            else:
                yield uid

    def _images(self, study: str, series: str) -> tuple[str, ...]:
        asked = dimse.identifier(
            "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", SOPClassUID=""
        )
        found = []
        for match in self._find(asked, StudyInstanceUID=study, SeriesInstanceUID=series):
            uid, sop_class = (dimse.value(match, keyword) for keyword in ("SOPInstanceUID", "SOPClassUID"))
            if sop_class and sop_class not in self._wanted.sop_classes:
                self._leave_out("image", uid, "its SOP class is not read")
            elif uid:
                found.append(uid)
        return tuple(dict.fromkeys(found))

    def _find(self, asked: Dataset, **above: Any) -> Iterator[Dataset]:
        """Ask, and drop what says that it belongs elsewhere than under the unique keys `above`."""
        for match in self._query.find(asked, MOST_MATCHES):
            if all(dimse.value(match, keyword) in ("", uid) for keyword, uid in above.items()):
                yield match

    def _is_radiography(self, level: str, uid: str, modalities: frozenset[str]) -> bool:
        if not modalities or modalities & set(self._wanted.modalities):
            return True
        self._leave_out(level, uid, f"its modality is not {' or '.join(self._wanted.modalities)}")
        return False

    def _leave_out(self, level: str, uid: str, reason: str) -> None:
        self._left_out.append(LeftOut(level=level, uid=uid, reason=reason))


def _unknown(connection: sa.Connection, images: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    known = known_images(connection, (uid for uids in images.values() for uid in uids))
    left = {series: tuple(uid for uid in uids if uid not in known) for series, uids in images.items()}
    return {series: uids for series, uids in left.items() if uids}
