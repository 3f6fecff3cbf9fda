"""Labelled radiographs: a manifest (CSV) that names one image or DICOM file a line."""

from __future__ import annotations

import csv
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import decode_picture, read_radiograph, valid_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "LABELS",
    "CorpusError",
    "Film",
    "Problem",
    "Scan",
    "manifest_path",
    "manifest_rows",
    "read_corpus",
    "scan",
]

LABELS = ("covid19", "bacterial_pneumonia", "normal")
COLUMNS = (
    "file",
    "patient_id",
    "label",
    "view",
    "age",
    "sex",
    "source",
    "licence",
    "split",
    "cohort",
)
_OLDEST = 120.0
_TOO_MANY = ""  # the column of cells that the header does not name


class CorpusError(ValueError):
    """The corpus cannot be trained on; the message names the manifest, the line and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """One labelled radiograph.

    Attributes
    ----------
    file, patient, label, view, sex, source, licence, split, cohort : str
        As in the manifest; `file` is relative to it. View and sex may be empty.
    age : float or None
        Years, 0..120; None where the source does not say.
    pixels : uint8 or float32 ndarray, shape (rows, columns)
        As displayed: 0 is black, and 255 (uint8) or 1 (float32) is white.
    """

    file: str
    patient: str
    label: str
    view: str
    age: float | None
    sex: str
    source: str
    licence: str
    split: str
    cohort: str
    pixels: NDArray[np.uint8] | NDArray[np.float32]

    @property
    def adult(self) -> bool:
        """Whether the source says or implies an adult."""
        return self.cohort.startswith("adult")

    def p_values(self) -> NDArray[np.float32]:
        """Return the picture as float32 in 0..1, shape (rows, columns)."""
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.float32) / np.float32(255)
        return self.pixels.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one line of a manifest; the text holds no patient identity."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """All that a manifest gave.

    Attributes
    ----------
    manifest : Path
    films : tuple of Film
        Every line without a problem.
    lines : tuple of int
        The manifest's line of each film.
    problems : tuple of Problem
        In the order of the lines.
    """

    manifest: Path
    films: tuple[Film, ...]
    lines: tuple[int, ...]
    problems: tuple[Problem, ...]


def read_corpus(manifest: Path, labels: Sequence[str] = LABELS) -> tuple[Film, ...]:
    """
    Read every image that a manifest names.

    Parameters
    ----------
    manifest : Path
        A CSV file in UTF-8 with at least `COLUMNS`, or a folder with such a ``manifest.csv``. Files are named
        relative to it and lie beneath it. PNG and JPEG of 8 or 16 bit are taken as P-values over the whole
        range of their depth, colour as its luminance; DICOM passes `cxr_pacs.radiograph.read_radiograph`,
        as in serving, and is cut to the bounding box of its valid pixels.
    labels : sequence of str
        Labels that may occur.

    Raises
    ------
    CorpusError
        No manifest, a column missing, or the first line that has a problem.
    """
    found = scan(manifest, labels)
    if found.problems:
        first, *more = found.problems
        others = f" ({len(more)} more lines have problems: see `cxr-train corpus`)" if more else ""
        raise CorpusError(f"{found.manifest}, line {first.line}: {first.text}{others}")
    return found.films


def scan(manifest: Path, labels: Sequence[str] = LABELS) -> Scan:
    """
    Read every line of a manifest as `read_corpus` does, and collect the problems instead of raising them.

    Raises
    ------
    CorpusError
        There is no manifest, a column is missing, or it names no image.
    """
    manifest = manifest_path(manifest)
    rows = manifest_rows(manifest, COLUMNS)
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(partial(_read, manifest.parent, tuple(labels)), rows))
    good = [(line, film) for (line, _), film in zip(rows, read, strict=True) if isinstance(film, Film)]
    return Scan(
        manifest=manifest,
        films=tuple(film for _, film in good),
        lines=tuple(line for line, _ in good),
        problems=tuple(problem for problem in read if isinstance(problem, Problem)),
    )


def manifest_path(path: Path) -> Path:
    """Return the manifest itself where `path` is a folder that holds one."""
    return path / "manifest.csv" if path.is_dir() else path


def manifest_rows(manifest: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """
    Read every row of a CSV file in UTF-8, with its line (the last one, where a cell spans several).

    Raises
    ------
    CorpusError
        It cannot be read, lacks one of `columns`, or has no row.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey=_TOO_MANY, restval="")
            rows = [(reader.line_num, row) for row in reader]
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
    except OSError as error:
        raise CorpusError(
            f"{manifest} cannot be read ({error.strerror}); name a manifest, or a folder with manifest.csv"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{manifest} is not CSV in UTF-8: {error}") from error
    if missing:
        raise CorpusError(f"{manifest} has no column {', '.join(missing)} (columns are parted by commas)")
    if not rows:
        raise CorpusError(f"{manifest} names no image")
    return rows


def _read(folder: Path, labels: tuple[str, ...], numbered: tuple[int, dict[str, str]]) -> Film | Problem:
    line, row = numbered
    if _TOO_MANY in row:
        return Problem(line=line, text="it has more cells than the header; quote a cell that holds a comma")
    if row["label"] not in labels:
        return Problem(line=line, text=f"label {row['label']!r} is none of {', '.join(labels)}")
    if not row["patient_id"]:
        return Problem(line=line, text="patient_id is empty, so splits could not be kept apart by patient")
    try:
        return Film(
            file=row["file"],
            patient=row["patient_id"],
            label=row["label"],
            view=row["view"],
            age=_age(row["age"]),
            sex=row["sex"],
            source=row["source"],
            licence=row["licence"],
            split=row["split"],
            cohort=row["cohort"],
            pixels=_pixels(folder, row["file"]),
        )
    except CorpusError as error:
        return Problem(line=line, text=str(error))


def _age(written: str) -> float | None:
    if not written.strip():
        return None
    try:
        age = float(written)
    except ValueError:
        age = -1.0
    if not 0 <= age <= _OLDEST:  # false for NaN too
        raise CorpusError(
            f"age {written!r} is no number of years from 0 to {_OLDEST:g}; leave it empty if unknown"
        )
    return age


def _pixels(folder: Path, file: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    if not file:
        raise CorpusError("file is empty")
    if PurePath(file).is_absolute() or Path(os.path.normpath(file)).parts[:1] == ("..",):
        raise CorpusError(f"file {file} leaves the manifest's folder; name it relative to the manifest")
    try:
        written = (folder / file).read_bytes()
    except OSError as error:
        raise CorpusError(f"image {file} is missing or cannot be read ({error.strerror})") from error
    if file.lower().endswith(".dcm") or written[128:132] == b"DICM":
        return _dicom(written, file)
    return _image(written, file)


def _image(written: bytes, file: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Decode PNG, JPEG and the like; an EXIF turn is applied."""
    try:
        decoded = decode_picture(written)
    except UnreadablePixels as error:
        raise CorpusError(f"image {file} cannot be decoded: {error}") from error
    if decoded.dtype == np.uint8:
        return np.asarray(decoded, np.uint8)
    return np.asarray(decoded, np.float32) / np.float32(65535)


def _dicom(written: bytes, file: str) -> NDArray[np.float32]:
    try:
        dataset = dcmread(io.BytesIO(written))
    except Exception as error:  # pydicom raises anything for bytes that are not DICOM
        raise CorpusError(f"{file} is no readable DICOM file ({type(error).__name__})") from error
    try:
        radiograph = read_radiograph(dataset)
    except UnreadablePixels as error:
        raise CorpusError(f"{file} cannot be rendered: {error}") from error
    part, _ = valid_part(radiograph)
    return part
