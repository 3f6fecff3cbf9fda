"""The documents of a study, and which earlier ones each replaces."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom import Dataset, FileDataset, dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from cxr_pacs.evidence import ReadInstance, ReportedStudy
from cxr_pacs.gateway.ledger import InstanceRow, ResultRow
from cxr_pacs.gateway.reading import Beside, Reader
from cxr_pacs.gateway.spool import Spool

__all__ = ["KINDS", "Documents", "Writer", "newest"]

logger = logging.getLogger(__name__)

# Kind of a result in the ledger, by SOP Class UID.
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        SecondaryCaptureImageStorage: "SC",
        SegmentationStorage: "SG",
        GrayscaleSoftcopyPresentationStateStorage: "PS",
        Comprehensive3DSRStorage: "SR",
        KeyObjectSelectionDocumentStorage: "KO",
        BasicTextSRStorage: "TX",
    }
)
_DOCUMENTS: Final = (Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage, BasicTextSRStorage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The report of some images, and what stands beside it.

    Attributes
    ----------
    report : FileDataset
    beside : Beside
        Key object selection and plain report.
    unchanged : ResultRow or None
        The newest report of these images, where `report` is that one once more; None where `report` is new.
    """

    report: FileDataset
    beside: Beside
    unchanged: ResultRow | None

    @property
    def every(self) -> tuple[FileDataset, ...]:
        """The report, and what stands beside it."""
        return self.report, *self.beside.objects


class Writer:
    """Writes the documents of studies.

    Parameters
    ----------
    reader : Reader
        With the settings of this gateway.
    spool : Spool
        Where images and earlier objects lie.
    """

    def __init__(self, reader: Reader, spool: Spool) -> None:
        self._reader = reader
        self._spool = spool

    def write(
        self,
        rows: Sequence[InstanceRow],
        orders: Mapping[int, str],
        results: Sequence[ResultRow],
        made_at: float,
    ) -> Documents:
        """Report the images `rows`, and name what the report replaces.

        That is the newest report of each of the images. Where one report is the newest of them all and of no
        other image, it may be that nothing has changed since: then the same report comes out, after what
        that one replaced, under the same UID.

        Parameters
        ----------
        rows : sequence of InstanceRow
            With findings, all of one model.
        orders : mapping of int to str
            What `order_files` gave for them.
        results : sequence of ResultRow
            Every object of the study that is still good, oldest first.
        made_at : float
            Seconds since the epoch.

        Raises
        ------
        EvidenceError
            The report cannot be built, or would not be conformant.
        """
        sources = {row.id for row in rows}
        instances = tuple(self._instance(row, orders.get(row.id)) for row in rows)
        pictures = [r for r in results if r.kind == "SC" and r.instance_id in sources]
        heatmaps = tuple(dcmread(self._spool.path(r.file), stop_before_pixels=True) for r in pictures)
        last = newest(results, "SR", sources)
        again = last[0] if [set(r.sources) for r in last] == [sources] else None

        def after(known: Sequence[ResultRow]) -> tuple[FileDataset, Mapping[str, Sequence[Dataset]]]:
            replaced: Mapping[str, Sequence[Dataset]] = {
                sop_class: self._read(newest(known, KINDS[sop_class], sources)) for sop_class in _DOCUMENTS
            }
            replaces = replaced[Comprehensive3DSRStorage]
            return self._reader.report(instances, heatmaps, replaces, made_at), replaced

        report, replaced = after([r for r in results if again is None or r.id < again.id])
        if again is not None and report.SOPInstanceUID != again.sop_instance_uid:
            again = None
            report, replaced = after(results)
        study = ReportedStudy(instances=instances, heatmaps=heatmaps, document=report)
        beside = self._reader.beside_report(study, replaced, made_at)
        return Documents(report=report, beside=beside, unchanged=again)

    def _instance(self, row: InstanceRow, order_file: str | None) -> ReadInstance:
        if row.findings is None:
            raise ValueError(f"instance {row.id} has no findings")
        header = dcmread(self._spool.path(row.file), stop_before_pixels=True)
        order = None
        if order_file is not None:
            order = dcmread(self._spool.path(order_file), force=True)
        return ReadInstance(header=header, findings=row.findings, quality=row.quality, order=order)

    def _read(self, replaced: Iterable[ResultRow]) -> tuple[Dataset, ...]:
        """Read what is replaced; an object that is no longer kept cannot be named."""
        found = []
        for row in replaced:
            try:
                found.append(dcmread(self._spool.path(row.file)))
            except FileNotFoundError:
                logger.warning("result %d is no longer in the spool: its successor does not name it", row.id)
        return tuple(found)


def newest(results: Sequence[ResultRow], kind: str, sources: set[int]) -> tuple[ResultRow, ...]:
    """Pick the newest document of `kind` of each of the images `sources`; `results` are oldest first.

    So a report of other images, as of a late one that another model read, is not replaced, and neither is one
    that a newer one of the same images replaced already.
    """
    of_image = {
        image: result
        for result in results
        if result.kind == kind
        for image in result.sources
        if image in sources
    }
    return tuple(sorted(set(of_image.values()), key=lambda result: result.id))
