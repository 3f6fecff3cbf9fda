"""Ask a worklist: what is scheduled, by the keys given."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxr_pacs import dimse
from cxr_pacs.cli.addresses import peer
from cxr_pacs.errors import CxrPacsError

__all__ = ["configure", "run"]

_STEPS = "ScheduledProcedureStepSequence"
_ASKED_BACK = (
    f"{_STEPS}.ScheduledProcedureStepStartDate",
    f"{_STEPS}.ScheduledProcedureStepStartTime",
    f"{_STEPS}.Modality",
    f"{_STEPS}.ScheduledStationAETitle",
    f"{_STEPS}.ScheduledProcedureStepID",
    f"{_STEPS}.ScheduledProcedureStepDescription",
    "AccessionNumber",
    "PatientID",
    "PatientName",
    "RequestedProcedureID",
    "StudyInstanceUID",
)
# Wide enough for every column where the output is no terminal.
_FILE_WIDTH = 200

FAILED = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("worklist", type=peer, metavar="AE@HOST:PORT", help="whom to ask")
    parser.add_argument(
        "-m",
        dest="match",
        action="append",
        type=_match,
        default=[],
        metavar="KEY=VALUE",
        help=f"match; a key is a keyword or a path such as {_STEPS}.Modality",
    )
    parser.add_argument(
        "-r", dest="back", action="append", type=_path, default=[], metavar="KEY", help="ask back this only"
    )
    parser.add_argument("--fuzzy", action="store_true", help="propose fuzzy matching of person names")
    parser.add_argument(
        "--cancel", type=int, default=0, metavar="N", help="cancel the query after N answers; 0: do not"
    )
    parser.add_argument("--calling", default="CXRPACS", metavar="AE", help="our own title (%(default)s)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="the answers in the DICOM JSON model")
    shown.add_argument("--out", type=Path, metavar="DIR", help="write each answer as a DICOM file")


def run(options: argparse.Namespace) -> int:
    """Print the answers; 1 when the query fails."""
    identifier = Dataset()
    for path in options.back or map(_path, _ASKED_BACK):
        _set(identifier, path, "")
    for path, wanted in options.match:
        _set(identifier, path, wanted)
    if not all(wanted.isascii() for _, wanted in options.match):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    if _STEPS not in identifier:
        setattr(identifier, _STEPS, [Dataset()])
    try:
        answers = dimse.find_worklist(
            options.calling, options.worklist, identifier, limit=options.cancel, fuzzy=options.fuzzy
        )
    except CxrPacsError as error:
        print(f"cxr-pacs: {error}", file=sys.stderr)
        return FAILED
    if options.json:
        print(json.dumps([item.to_json_dict() for item in answers.items], indent=1))
    elif options.out:
        _write(answers.items, options.out)
    else:
        _print_table(answers.items, tuple(_leaves(identifier)))
    if not answers.complete:
        print("there may be more: the query was cancelled, or reached the worklist's limit", file=sys.stderr)
    if not answers.all_supported:
        print("the worklist does not support every key (FF01)", file=sys.stderr)
    return 0


def _match(text: str) -> tuple[tuple[str, ...], str]:
    key, equals, wanted = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"no KEY=VALUE: {text!r}")
    return _path(key), wanted


def _path(text: str) -> tuple[str, ...]:
    path = tuple(_keyword(part) for part in text.replace("/", ".").split("."))
    for depth, keyword in enumerate(path, 1):
        is_sequence = dictionary_VR(keyword) == "SQ"
        if depth < len(path) and not is_sequence:
            raise argparse.ArgumentTypeError(f"{keyword} is no sequence")
    return path


def _keyword(part: str) -> str:
    if len(part) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in part):
        part = keyword_for_tag(int(part, 16)) or part
    if tag_for_keyword(part) is None:
        raise argparse.ArgumentTypeError(f"no keyword of the standard: {part!r}")
    return part


def _set(identifier: Dataset, path: tuple[str, ...], wanted: str) -> None:
    where = identifier
    for keyword in path[:-1]:
        if not where.get(keyword):
            setattr(where, keyword, [Dataset()])
        where = where[keyword][0]
    if dictionary_VR(path[-1]) == "SQ":
        where.setdefault(path[-1], [])
    else:
        setattr(where, path[-1], wanted)


def _leaves(identifier: Dataset, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for element in identifier:
        path = (*above, element.keyword)
        if element.VR == "SQ" and element.value:
            yield from _leaves(element.value[0], path)
        elif element.keyword != "SpecificCharacterSet":
            yield path


def _print_table(items: Sequence[Dataset], columns: Sequence[tuple[str, ...]]) -> None:
    table = Table()
    for path in columns:
        table.add_column(path[-1].removeprefix("ScheduledProcedureStep").removeprefix("Scheduled"))
    for item in items:
        table.add_row(*(escape(_text(item, path)) for path in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    console.print(table)
    print(f"{len(items)} answers")


def _text(item: Dataset, path: tuple[str, ...]) -> str:
    where = item
    for keyword in path[:-1]:
        inner = where.get(keyword)
        if not inner:
            return ""
        where = inner[0]
    found = where.get(path[-1])
    return "" if found is None else str(found)


def _write(items: Sequence[Dataset], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(items, 1):
        item.file_meta = FileMetaDataset()
        item.file_meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
        item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.save_as(folder / f"{number:05}.dcm", enforce_file_format=True)
    print(f"{len(items)} files in {folder}")
