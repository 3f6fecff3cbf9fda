"""Labelled radiographs: a folder with a ``manifest.csv`` that names one image a line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cxr_pacs.radiograph.geometry import area_average

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["COLUMNS", "LABELS", "CorpusError", "Film", "read_corpus", "squash_all", "squash_square"]

LABELS = ("covid19", "bacterial_pneumonia", "normal")
COLUMNS = ("file", "patient_id", "label", "source", "licence", "split", "cohort")


class CorpusError(ValueError):
    """The corpus cannot be trained on; the message names the manifest, the line and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """One labelled radiograph.

    Attributes
    ----------
    patient, label, source, licence, split, cohort : str
        As in the manifest.
    pixels : uint8 ndarray, shape (rows, columns)
        As displayed: 0 is black.
    """

    patient: str
    label: str
    source: str
    licence: str
    split: str
    cohort: str
    pixels: NDArray[np.uint8]

    @property
    def adult(self) -> bool:
        """Whether the source says or implies an adult."""
        return self.cohort.startswith("adult")


def read_corpus(folder: Path) -> tuple[Film, ...]:
    """
    Read every image that `folder`'s manifest names.

    Raises
    ------
    CorpusError
        No manifest, a column missing, an unknown label, or an image that is not there or cannot be decoded.
    """
    manifest = folder / "manifest.csv"
    try:
        with manifest.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
    except OSError as error:
        raise CorpusError(
            f"{manifest} cannot be read ({error.strerror}); name the corpus's folder"
        ) from error
    if missing:
        raise CorpusError(f"{manifest} has no column {', '.join(sorted(missing))}")
    return tuple(
        _read_film(folder, row, f"{manifest}, line {line}") for line, row in enumerate(rows, start=2)
    )


def _read_film(folder: Path, row: dict[str, str], where: str) -> Film:
    if row["label"] not in LABELS:
        raise CorpusError(f"{where}: label {row['label']!r} is none of {', '.join(LABELS)}")
    if not row["patient_id"]:
        raise CorpusError(f"{where}: patient_id is empty, so splits could not be kept apart by patient")
    pixels = cv2.imread(str(folder / row["file"]), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise CorpusError(f"{where}: image {row['file']} is missing or cannot be decoded")
    return Film(
        patient=row["patient_id"],
        label=row["label"],
        source=row["source"],
        licence=row["licence"],
        split=row["split"],
        cohort=row["cohort"],
        pixels=np.asarray(pixels, dtype=np.uint8),
    )


def squash_square(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Average the areas of `pixels` onto a square of `size`, as P-values in 0..1."""
    return area_average(pixels.astype(np.float32) / np.float32(255), (size, size))


def squash_all(films: Iterable[Film], size: int) -> NDArray[np.float32]:
    """Every whole film as the network will see it: float32 [films, size, size]."""
    return np.stack([squash_square(film.pixels, size) for film in films])
