"""Pictures for a simulated modality: given radiographs without their identity, or a synthetic chest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from cxr_pacs.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Film", "default_films", "films_in", "synthetic_chest", "synthetic_film"]

# What says how the picture looks and which view it is; nothing of this identifies anybody.
_KEPT: Final = (
    "ImageType",
    "DerivationDescription",
    "BodyPartExamined",
    "ViewPosition",
    "PatientOrientation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "BurnedInAnnotation",
    "WindowCenter",
    "WindowWidth",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PresentationLUTShape",
    "PixelData",
)
_CLASSES: Final = frozenset({ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation})
_DEMO: Final = Path(__file__).parents[2] / "demo" / "radiographs"
_BITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A picture and its view.

    Attributes
    ----------
    pixels : Dataset
        Attributes of the picture, Pixel Data (7FE0,0010) included. Not to be changed.
    transfer_syntax_uid : UID
        In which Pixel Data is encoded.
    """

    pixels: Dataset
    transfer_syntax_uid: UID


def default_films() -> tuple[Film, ...]:
    """Give the demo's radiographs where they are, as in a checkout; else a synthetic one."""
    return films_in(_DEMO) if _DEMO.is_dir() else (synthetic_film(),)


def films_in(folder: Path) -> tuple[Film, ...]:
    """
    Take the pictures of the CR and DX images below `folder`, and nothing that says whose they are.

    Raises
    ------
    ConfigurationError
        The folder cannot be read, or holds no such image.
    """
    try:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        films = tuple(film for path in paths if (film := _film(path)) is not None)
    except OSError as error:
        raise ConfigurationError(f"--images {folder}: cannot be read: {error.strerror}") from error
    if not films:
        raise ConfigurationError(f"--images {folder}: no CR or DX image (Part 10 file) lies there")
    return films


@cache
def synthetic_film() -> Film:
    """Draw a frontal chest, 512 x 448, 12 bits, uncompressed."""
    picture = synthetic_chest(512, 448, 0)
    pixels = Dataset()
    pixels.ImageType = ["ORIGINAL", "PRIMARY"]
    pixels.BodyPartExamined = "CHEST"
    pixels.ViewPosition = "PA"
    pixels.PatientOrientation = ["L", "F"]
    pixels.SamplesPerPixel = 1
    pixels.PhotometricInterpretation = "MONOCHROME2"
    pixels.Rows, pixels.Columns = picture.shape
    pixels.BitsAllocated, pixels.BitsStored, pixels.HighBit = 16, _BITS, _BITS - 1
    pixels.PixelRepresentation = 0
    pixels.BurnedInAnnotation = "NO"
    pixels.WindowCenter, pixels.WindowWidth = str(1 << _BITS - 1), str(1 << _BITS)
    pixels.LossyImageCompression = "00"
    pixels.PresentationLUTShape = "IDENTITY"
    stored = np.rint(picture.astype(np.float64) * ((1 << _BITS) - 1)).astype("<u2")
    pixels.PixelData = stored.tobytes()
    pixels["PixelData"].VR = "OW"
    return Film(pixels=pixels, transfer_syntax_uid=ExplicitVRLittleEndian)


def synthetic_chest(rows: int, columns: int, seed: int) -> NDArray[np.float32]:
    """Draw a picture with the layout of a frontal chest radiograph.

    Parameters
    ----------
    rows, columns : int
        Size in pixels.
    seed : int
        Varies the anatomy a little and draws the noise.

    Returns
    -------
    float32 ndarray, shape (rows, columns)
        P-values in [0, 1]: 0 black (air), 1 white (bone).
    """
    random = np.random.default_rng(seed)
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    shift, size = random.uniform(-0.05, 0.05), random.uniform(0.9, 1.1)

    def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.float32]:
        distance = ((x - centre[0] - shift) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
        edge: NDArray[np.float32] = 1 / (1 + np.exp(np.clip(12 * (distance - 1), -60, 60)))
        return edge

    body = ellipse((0.0, 0.3), (0.92, 1.3))
    lungs = ellipse((-0.42, 0.0), (0.3 * size, 0.62)) + ellipse((0.42, 0.0), (0.3 * size, 0.62))
    heart = ellipse((0.12, 0.3), (0.3, 0.32 * size))
    spine = np.exp(-(((x - shift) / 0.07) ** 2)) * np.ones_like(y)
    ribs = np.clip(np.cos(22 * (y + 0.25 * x**2)), 0, 1) * lungs
    picture = 0.62 * body - 0.46 * np.clip(lungs - heart, 0, 1) + 0.16 * spine * body + 0.08 * ribs + 0.1
    picture = picture + random.normal(0, 0.01, (rows, columns))
    shown: NDArray[np.float32] = np.clip(picture, 0, 1).astype(np.float32)
    return shown


def _film(path: Path) -> Film | None:
    try:
        dataset = dcmread(path)
        if dataset.SOPClassUID not in _CLASSES or "PixelData" not in dataset:
            return None
        pixels = Dataset()
        for keyword in _kept(dataset, _KEPT):
            pixels[keyword] = dataset[keyword]
        return Film(pixels=pixels, transfer_syntax_uid=UID(dataset.file_meta.TransferSyntaxUID))
    except (InvalidDicomError, AttributeError, ValueError, TypeError, NotImplementedError):
        return None  # not a DICOM image that can be used


def _kept(dataset: Dataset, keywords: Sequence[str]) -> tuple[str, ...]:
    return tuple(keyword for keyword in keywords if keyword in dataset)
