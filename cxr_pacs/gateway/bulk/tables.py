"""The results as one table, a row for each file, as CSV or Parquet.

=====================  ==================================================================================
file                   path; of a member of an archive ARCHIVE:MEMBER
sop_instance_uid       empty where the file is no data set, as is study_instance_uid
study_instance_uid
decision               accept, skip or hold
rung                   the rung of evidence that settled it
reason                 one sentence
error                  why it could not be read, or failed; empty otherwise
research               true for a picture that is not DICOM: for research only
HEAD.LABEL             the score of each class, 0 to 1; empty where it is withheld, or nothing was read
withheld               the classes that are withheld, HEAD.LABEL, parted by semicolons
quality                remarks on the image, parted by spaces
objects                names of the files made, parted by semicolons
patient_id             with identity only, as are the next two
accession_number
study_date             YYYYMMDD
=====================  ==================================================================================
"""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cxr_pacs.errors import ConfigurationError, UnreadableMedium
from cxr_pacs.evidence.attributes import single
from cxr_pacs.gateway.bulk.journal import Row
from cxr_pacs.gateway.media import MediaFile
from cxr_pacs.inference import ClassScore, Withheld

__all__ = ["CSV", "ResultTable", "identity_of", "no_identity", "require_parquet"]

CSV = "results.csv"

Record = dict[str, Any]

_FIRST = ("file", "sop_instance_uid", "study_instance_uid", "decision", "rung", "reason", "error", "research")
_LAST = ("withheld", "quality", "objects")
_IDENTITY = {"patient_id": "PatientID", "accession_number": "AccessionNumber", "study_date": "StudyDate"}
_AT_ONCE = 1000  # rows in memory


def no_identity(_: MediaFile) -> Record:
    """Tell nothing of whose image a file is."""
    return {}


def identity_of(file: MediaFile) -> Record:
    """Tell of whose image a file is; empty where it is none, or cannot be read any more."""
    try:
        header = file.header()
    except (OSError, UnreadableMedium):
        return dict.fromkeys(_IDENTITY, "")
    return {column: single(header, keyword) for column, keyword in _IDENTITY.items()}


class ResultTable:
    """The files of a run, read anew for each use: a part of them is in memory at a time.

    Parameters
    ----------
    rows : callable
        Gives them.
    identity : callable
        `no_identity` or `identity_of`.
    """

    def __init__(
        self, rows: Callable[[], Iterator[Row]], identity: Callable[[MediaFile], Record] = no_identity
    ) -> None:
        self._rows = rows
        self._identity = identity
        classes: dict[str, None] = {}
        for row in rows():
            if row.outcome is not None:
                told: tuple[ClassScore | Withheld, ...] = (*row.outcome.scores, *row.outcome.withheld)
                classes |= dict.fromkeys(f"{one.head}.{one.label}" for one in told)
        self._classes = tuple(classes)
        beside = tuple(_IDENTITY) if identity is identity_of else ()
        self.columns = (*_FIRST, *self._classes, *_LAST, *beside)

    def write_csv(self, path: Path) -> None:
        """Write the table in UTF-8, with a line of names above it."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self._records())

    def write_parquet(self, path: Path) -> None:
        """Write the table with typed columns; what does not apply is null."""
        pyarrow, parquet = require_parquet(), importlib.import_module("pyarrow.parquet")
        kinds = dict.fromkeys(self._classes, pyarrow.float64()) | {"research": pyarrow.bool_()}
        schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in self.columns])
        with parquet.ParquetWriter(path, schema) as writer:
            records = self._records()
            while part := list(itertools.islice(records, _AT_ONCE)):
                writer.write_table(pyarrow.Table.from_pylist(part, schema))

    def _records(self) -> Iterator[Record]:
        for row in self._rows():
            outcome = row.outcome
            if outcome is not None:
                yield {
                    "file": row.file.name,
                    "sop_instance_uid": outcome.sop_instance_uid,
                    "study_instance_uid": outcome.study_instance_uid,
                    "decision": outcome.decision.outcome.value,
                    "rung": outcome.decision.rung,
                    "reason": outcome.decision.reason,
                    "error": outcome.error or row.report_error,
                    "research": outcome.research,
                    **{f"{score.head}.{score.label}": score.score for score in outcome.scores},
                    "withheld": ";".join(f"{one.head}.{one.label}" for one in outcome.withheld),
                    "quality": " ".join(outcome.quality),
                    "objects": ";".join((*outcome.objects, *row.report)),
                    **self._identity(row.file),
                }


def require_parquet() -> Any:
    """Import pyarrow; ConfigurationError where it is not installed."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ConfigurationError("--parquet: pyarrow is not installed; install cxr-pacs[parquet]") from error
