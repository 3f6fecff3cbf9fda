"""Make the demo's three radiographs from openly licensed pictures.

The pictures are 8-bit JPEG files of research collections; this program wraps them as Computed Radiography
images with invented identities. Same pictures in, same bytes out.

Run it as ``python -m demo.make_radiographs --data DIR``, where DIR holds ``manifest.csv`` and ``images/``.
"""

from __future__ import annotations

import argparse
import csv
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

_NAMESPACE = uuid.UUID("0b0f2a55-7d59-4c0e-9d5c-4f6a8f8f4e11")
_BITS = 12
_FULL_SCALE = 2**_BITS - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """One radiograph of the demo: whose picture, under which invented name, how it is coded.

    `age` is given where the source states no more than an adult, or 1 to 5 years; else it is the source's.
    """

    stem: str
    label: str
    source: str
    patient: str
    age: str = ""
    photometric: str
    transfer_syntax: UID


_RECIPES = (
    _Recipe(
        stem="alpha",
        label="covid19",
        source="hannover-covid19-image-repository",
        patient="DEMO^ALPHA",
        age="60",
        photometric="MONOCHROME2",
        transfer_syntax=JPEG2000Lossless,
    ),
    _Recipe(
        stem="bravo",
        label="bacterial_pneumonia",
        source="kermany-paediatric",
        patient="DEMO^BRAVO",
        age="3",
        photometric="MONOCHROME1",
        transfer_syntax=JPEGLSLossless,
    ),
    _Recipe(
        stem="charlie",
        label="normal",
        source="nih-chestxray14",
        patient="DEMO^CHARLIE",
        photometric="MONOCHROME2",
        transfer_syntax=RLELossless,
    ),
)


def _first_test_row(manifest: Path, recipe: _Recipe) -> dict[str, str]:
    """Take the first test picture of the class and source: a rule, so that none is picked for its looks."""
    with manifest.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if (row["split"], row["label"], row["source"]) == ("test", recipe.label, recipe.source):
                return row
    raise SystemExit(f"{manifest}: no test picture of {recipe.label} from {recipe.source}")


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def _stored_values(picture: NDArray[np.uint8], photometric: str) -> NDArray[np.uint16]:
    """8-bit grey levels spread over 12 bits; no detail is added, and MONOCHROME1 stores the negative."""
    spread: NDArray[np.uint16] = np.rint(picture.astype(np.float64) * _FULL_SCALE / 255).astype(np.uint16)
    return spread if photometric == "MONOCHROME2" else np.subtract(_FULL_SCALE, spread, dtype=np.uint16)


def _identity(recipe: _Recipe, row: dict[str, str]) -> Dataset:
    """Patient, study, series and equipment: invented, except sex and age where the source states them."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = recipe.patient
    dataset.PatientID = f"DEMO-{recipe.stem.upper()}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = row["sex"]
    dataset.PatientAge = f"{int(row['age'] or recipe.age):03d}Y"
    dataset.StudyInstanceUID = _uid(recipe.stem, "study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20260105"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = "101500"
    dataset.AccessionNumber = f"DEMO{recipe.stem.upper()}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyDescription = "Chest radiograph"
    dataset.SeriesInstanceUID = _uid(recipe.stem, "series")
    dataset.SeriesNumber = 1
    dataset.Modality = "CR"
    dataset.SeriesDescription = f"Chest {row['view']}"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = row["view"]
    dataset.Manufacturer = "cxr-pacs demo"
    dataset.ManufacturerModelName = "make_radiographs"
    return dataset


def _radiograph(recipe: _Recipe, row: dict[str, str], picture_path: Path) -> Dataset:
    with Image.open(picture_path) as opened:
        picture = np.asarray(opened.convert("L"))
    dataset = _identity(recipe, row)
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = _uid(recipe.stem, "instance")
    dataset.InstanceNumber = 1
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = "8-bit research JPEG spread linearly over 12 bits"
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.LossyImageCompressionRatio = f"{picture.size / picture_path.stat().st_size:.1f}"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = recipe.photometric
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PresentationLUTShape = "IDENTITY" if recipe.photometric == "MONOCHROME2" else "INVERSE"
    dataset.PixelData = _stored_values(picture, recipe.photometric).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(recipe.transfer_syntax, generate_instance_uid=False)
    return dataset


def main() -> None:
    """Write ``demo/radiographs/*.dcm`` and print where each picture came from."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and images/")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "radiographs")
    options = parser.parse_args()
    for recipe in _RECIPES:
        row = _first_test_row(options.data / "manifest.csv", recipe)
        dataset = _radiograph(recipe, row, options.data / row["file"])
        target = options.out / f"{recipe.stem}.dcm"
        dataset.save_as(target, enforce_file_format=True)
        print(target.name, target.stat().st_size, row["label"], row["source"], row["file"], row["detail"])


if __name__ == "__main__":
    main()
