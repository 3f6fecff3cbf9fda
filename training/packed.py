"""Films as a fit reads them: what the network may see of each, small, in one file."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from training.corpus import CorpusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from training.corpus import Film

__all__ = ["SIDE", "Packed", "joined", "pack", "read_packed", "write_packed"]

SIDE = 224
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
    """

    views: NDArray[np.uint8]
    files: NDArray[np.str_]
    patients: NDArray[np.str_]
    labels: NDArray[np.str_]
    sources: NDArray[np.str_]
    splits: NDArray[np.str_]
    cohorts: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Packed:
        """Pick some films."""
        texts = {name: getattr(self, name)[which] for name in _TEXTS}
        return Packed(views=self.views[which], **texts)

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
    views = np.stack([see(film.p_values()) for film in kept])
    return Packed(views=views, **{name: np.array(values) for name, values in texts.items()})


def joined(parts: Sequence[Packed]) -> Packed:
    """Put several corpora behind each other."""
    texts = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _TEXTS}
    return Packed(views=np.concatenate([part.views for part in parts]), **texts)


def write_packed(packed: Packed, path: Path) -> None:
    """Write one compressed ``.npz``; it holds patients' pseudonyms as the manifest has them, no header."""
    stream = io.BytesIO()
    np.savez_compressed(stream, views=packed.views, **{name: getattr(packed, name) for name in _TEXTS})
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
            return Packed(**{name: archive[name] for name in ("views", *_TEXTS)})
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path} is no packed corpus ({error}); make one with cxr-train pack") from error
