"""Films as a fit reads them: what the network may see of each, small, in one file."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = ["SIDE", "Packed", "joined", "pack", "read_packed", "write_packed"]

SIDE = 320  # twice the size of the compact recipe: shrinking to that is then exactly what serving does
_TEXTS = ("files", "patients", "labels", "sources", "splits", "cohorts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """A corpus made small.

    Attributes
    ----------
    views : uint8 ndarray, shape (films, SIDE, SIDE, 3)
        P-values times 255 of the part that the network sees; what of it is visible; where the lungs are.
    files, patients, labels, sources, splits, cohorts : str ndarray, shape (films,)
        As in the manifest.
    preprocessing : str
        What the views are of, as a bundle names it without its size; after a space the SHA-256 of what found
        the lungs where they were cropped to. Empty where it is not known.
    """

    views: NDArray[np.uint8]
    files: NDArray[np.str_]
    patients: NDArray[np.str_]
    labels: NDArray[np.str_]
    sources: NDArray[np.str_]
    splits: NDArray[np.str_]
    cohorts: NDArray[np.str_]
    preprocessing: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Packed:
        """Pick some films."""
        texts = {name: getattr(self, name)[which] for name in _TEXTS}
        return replace(self, views=self.views[which], **texts)

    def split(self, *names: str) -> Packed:
        """Pick the films of some splits."""
        return self.rows(np.isin(self.splits, names))


def pack(films: Iterable[Film], see: Callable[[NDArray[np.float32]], NDArray[np.uint8]]) -> Packed:
    """
    Make films small.

    Parameters
    ----------
    films : iterable of Film
    see : callable
        From P-values float32 [rows, columns] to one entry of `Packed.views`.
    """
    kept = list(films)
    texts = {
        "files": [film.file for film in kept],
        "patients": [film.patient for film in kept],
        "labels": [film.label for film in kept],
        "sources": [film.source for film in kept],
        "splits": [film.split for film in kept],
        "cohorts": [film.cohort for film in kept],
    }
    columns: dict[str, Any] = {name: np.array(values) for name, values in texts.items()}
    return Packed(views=np.stack([see(film.p_values()) for film in kept]), **columns)


def joined(parts: Sequence[Packed]) -> Packed:
    """
    Put several corpora behind each other.

    Raises
    ------
    CorpusError
        They were preprocessed differently.
    """
    if len({part.preprocessing for part in parts}) > 1:
        raise CorpusError("the packed corpora show films differently; pack all with one --lungs")
    texts: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _TEXTS}
    return replace(parts[0], views=np.concatenate([part.views for part in parts]), **texts)


def write_packed(packed: Packed, path: Path) -> None:
    """Write one compressed ``.npz``; it holds patients' pseudonyms as the manifest has them, no header."""
    stream = io.BytesIO()
    columns = {name: getattr(packed, name) for name in ("views", *_TEXTS)}
    np.savez_compressed(stream, preprocessing=np.array(packed.preprocessing), **columns)
    path.write_bytes(stream.getvalue())


def read_packed(path: Path) -> Packed:
    """
    Read what `write_packed` wrote.

    Raises
    ------
    CorpusError
        The file is missing or something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in ("views", *_TEXTS)}
            known = "preprocessing" in archive.files  # not in files of older versions
            return Packed(**columns, preprocessing=str(archive["preprocessing"]) if known else "")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path} is no packed corpus ({error}); make one with cxr-train pack") from error
