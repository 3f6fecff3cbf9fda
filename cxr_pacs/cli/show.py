"""Show a report as text or as a page, a picture as PNG, or all that was made of a study."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from pydicom import Dataset

from cxr_pacs.errors import NothingToShow, UnreadablePixels
from cxr_pacs.evidence.header_facts import Facts
from cxr_pacs.evidence.plain import items_of, plain
from cxr_pacs.evidence.reading_back import read_document
from cxr_pacs.evidence.report_page import Picture, as_page
from cxr_pacs.evidence.report_text import as_text, facts_as_text
from cxr_pacs.gateway.showing import (
    StudyResults,
    find_study,
    is_document,
    is_picture,
    is_presentation,
    png,
    read_object,
)
from cxr_pacs.settings import Settings, load_settings

__all__ = ["configure", "run"]

SHOWN, ERROR = 0, 1

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", metavar="FILE|STUDY", help="a DICOM file, or a Study Instance UID")
    parser.add_argument("--html", action="store_true", help="one HTML page that needs no other file")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write there; a picture, without --html, as PNG"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML), to find a study")


def run(options: argparse.Namespace) -> int:
    """Show it; 0, or 1 when there is nothing to show."""
    settings = load_settings(options.config) if options.config else Settings()
    try:
        shown = _shown(options, settings)
    except (NothingToShow, UnreadablePixels) as error:
        return _failed(str(error))
    if options.out is None:
        # A value may hold what the terminal's character set does not.
        encoding = sys.stdout.encoding or "utf-8"
        print(shown.decode("utf-8").encode(encoding, "replace").decode(encoding), end="")
        return SHOWN
    try:
        options.out.write_bytes(shown)
    except OSError as error:
        return _failed(f"--out: cannot write {options.out}: {error.strerror}")
    return SHOWN


def _failed(reason: str) -> int:
    print(f"cxr-pacs: {reason}", file=sys.stderr)
    return ERROR


def _shown(options: argparse.Namespace, settings: Settings) -> bytes:
    path = Path(options.what)
    if path.exists():
        return _object(path, options)
    if not _UID.fullmatch(options.what):
        raise NothingToShow(f"{options.what}: no such file, and not a Study Instance UID")
    _require_text(options)
    study = find_study(settings, options.what)
    return (_study_page(study) if options.html else _study_text(study)).encode()


def _object(path: Path, options: argparse.Namespace) -> bytes:
    dataset = read_object(path)
    if not (is_document(dataset) or is_picture(dataset) or is_presentation(dataset)):
        raise NothingToShow(
            f"{path}: neither a report nor a picture nor annotations: nothing can be shown of it"
        )
    try:
        if options.html:
            _require_text(options)
            pictures = [_picture(dataset)] if is_picture(dataset) else []
            return as_page([read_document(dataset)], pictures, []).encode()
        if options.out is not None and is_picture(dataset):
            return png(dataset)
    except UnreadablePixels as error:
        raise NothingToShow(f"{path}: {error}") from error
    _require_text(options)
    return as_text(read_document(dataset)).encode()


def _require_text(options: argparse.Namespace) -> None:
    if options.out is not None and options.out.suffix.lower() == ".png":
        raise NothingToShow(f"--out: {options.out}: only one picture, without --html, is written as PNG")


def _picture(dataset: Dataset) -> Picture:
    caption = plain(dataset, "DerivationDescription") or plain(dataset, "SeriesDescription") or "Picture"
    sources = items_of(dataset, "SourceImageSequence")
    images = [f"Image {plain(source, 'ReferencedSOPInstanceUID')}" for source in sources]
    return Picture(png=png(dataset), caption="\n".join([caption, *images]))


def _study_page(study: StudyResults) -> str:
    documents = [read_document(dataset) for _, dataset in study.reports]
    pictures, notes = [], _notes(study)
    for path, dataset in study.pictures:
        try:
            pictures.append(_picture(dataset))
        except UnreadablePixels as error:
            notes.append(Facts(heading="Not shown", lines=((str(path), str(error)),)))
    return as_page(documents, pictures, notes)


def _study_text(study: StudyResults) -> str:
    texts = [as_text(read_document(dataset)) for _, dataset in study.reports]
    return "\n".join([*texts, *(facts_as_text(facts) + "\n" for facts in _notes(study))])


def _notes(study: StudyResults) -> list[Facts]:
    """Tell what came, and in which files the results lie."""
    files = [
        (plain(dataset, "Modality") or "object", str(path))
        for path, dataset in (*study.reports, *study.pictures, *study.others)
    ]
    made = Facts(heading="Results", lines=tuple(files) or (("none", "nothing was made of this study"),))
    return [facts for facts in (study.received, made) if facts.lines]
