"""What the header of one instance says, read so that a missing or wrong element is never an error."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_pacs.radiograph.elements import codes, integer, items, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

__all__ = ["HeaderFacts", "ImageDescription", "read_header"]

_AGE = re.compile(r"^\s*(\d{1,3})\s*([DWMY]?)\s*$")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "StudyDescription",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDescription:
    """The Image Pixel Module as declared (PS3.3 C.7.6.3); None where missing or no number."""

    has_pixel_data: bool
    rows: int | None
    columns: int | None
    samples_per_pixel: int | None
    frames: int
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    photometric_interpretation: str

    @property
    def bits_problem(self) -> str | None:
        """One sentence when the bits are not those of a grayscale radiograph (PS3.5 8.1.1), else None."""
        allocated, stored = self.bits_allocated, self.bits_stored
        if allocated not in {8, 16}:
            return "Bits Allocated is neither 8 nor 16."
        if stored is None or not 8 <= stored <= allocated:
            return "Bits Stored is not between 8 and Bits Allocated."
        if self.high_bit not in {None, stored - 1}:
            return "High Bit is not Bits Stored - 1."
        if self.pixel_representation not in {None, 0, 1}:
            return "Pixel Representation is neither 0 nor 1."
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFacts:
    """Facts of one instance. They hold no patient identity, but for what free text may say.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid : str or None
        As sent, well formed or not; None when missing or empty.
    transfer_syntax_uid : str or None
        From the file meta information.
    has_patient_id : bool
        Whether Patient ID holds anything.
    modality, presentation_intent, body_part, view_position : str
        Code strings in upper case, "" when missing.
    image_type, patient_orientation : tuple of str
        The values in their order, upper case.
    view_codes, anatomic_regions : tuple of str
        Code values of View Code Sequence and Anatomic Region Sequence.
    species : tuple of str
        Species code values and words, where the header names any.
    descriptions : tuple of (str, str)
        Keyword and free text. May hold identity: compare it with a vocabulary, never repeat it.
    age_years : float or None
        Patient's Age, else from Birth Date and Study Date.
    """

    sop_class_uid: str | None
    sop_instance_uid: str | None
    series_instance_uid: str | None
    study_instance_uid: str | None
    transfer_syntax_uid: str | None
    has_patient_id: bool
    modality: str
    presentation_intent: str
    image_type: tuple[str, ...]
    manufacturer: str
    model_name: str
    instance_number: int | None
    age_years: float | None
    body_part: str
    anatomic_regions: tuple[str, ...]
    view_codes: tuple[str, ...]
    view_position: str
    patient_orientation: tuple[str, ...]
    species: tuple[str, ...]
    descriptions: tuple[tuple[str, str], ...]
    image: ImageDescription


def read_header(dataset: Dataset) -> HeaderFacts:
    """Read the facts of `dataset`.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With its file meta information, where there is any; pixel data is not touched.

    Returns
    -------
    HeaderFacts
        Whatever the dataset holds: nothing is raised for a missing or malformed element.
    """
    meta = getattr(dataset, "file_meta", None)
    return HeaderFacts(
        sop_class_uid=text(dataset, "SOPClassUID") or None,
        sop_instance_uid=text(dataset, "SOPInstanceUID") or None,
        series_instance_uid=text(dataset, "SeriesInstanceUID") or None,
        study_instance_uid=text(dataset, "StudyInstanceUID") or None,
        transfer_syntax_uid=(text(meta, "TransferSyntaxUID") or None) if meta is not None else None,
        has_patient_id=bool(text(dataset, "PatientID")),
        modality=text(dataset, "Modality").upper(),
        presentation_intent=text(dataset, "PresentationIntentType").upper(),
        image_type=codes(dataset, "ImageType"),
        manufacturer=text(dataset, "Manufacturer"),
        model_name=text(dataset, "ManufacturerModelName"),
        instance_number=integer(dataset, "InstanceNumber"),
        age_years=_age_years(dataset),
        body_part=text(dataset, "BodyPartExamined").upper(),
        anatomic_regions=tuple(_code_values(dataset, "AnatomicRegionSequence")),
        view_codes=tuple(_code_values(dataset, "ViewCodeSequence")),
        view_position=text(dataset, "ViewPosition").upper(),
        patient_orientation=codes(dataset, "PatientOrientation"),
        species=_species(dataset),
        descriptions=tuple((k, found) for k in _DESCRIPTIONS if (found := text(dataset, k))),
        image=_image(dataset),
    )


def _image(dataset: Dataset) -> ImageDescription:
    return ImageDescription(
        has_pixel_data="PixelData" in dataset,
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples_per_pixel=integer(dataset, "SamplesPerPixel"),
        frames=integer(dataset, "NumberOfFrames") or 1,
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=integer(dataset, "BitsStored"),
        high_bit=integer(dataset, "HighBit"),
        pixel_representation=integer(dataset, "PixelRepresentation"),
        photometric_interpretation=text(dataset, "PhotometricInterpretation").upper(),
    )


def _code_values(dataset: Dataset, keyword: str) -> Iterator[str]:
    """Code values of a sequence of code items (PS3.3 Table 8.8-1), short, long or URN."""
    for item in items(dataset, keyword):
        for part in ("CodeValue", "LongCodeValue", "URNCodeValue"):
            if value := text(item, part):
                yield value


def _species(dataset: Dataset) -> tuple[str, ...]:
    description = text(dataset, "PatientSpeciesDescription").upper()
    return (*_code_values(dataset, "PatientSpeciesCodeSequence"), *description.split())


def _age_years(dataset: Dataset) -> float | None:
    if match := _AGE.match(text(dataset, "PatientAge").upper()):
        return int(match[1]) * _YEARS[match[2]]
    born, studied = text(dataset, "PatientBirthDate"), text(dataset, "StudyDate")
    try:
        birth, study = dt.date.fromisoformat(born), dt.date.fromisoformat(studied)
    except ValueError:
        return None
    return _years_between(birth, study) if birth <= study else None


def _years_between(birth: dt.date, study: dt.date) -> float:
    """Completed years, by the calendar, and the part of the running one."""
    years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    # Who was born on 29 February is a year older from 1 March on, where there is none.
    month, day = (3, 1) if (birth.month, birth.day) == (2, 29) else (birth.month, birth.day)
    return years + max((study - dt.date(birth.year + years, month, day)).days, 0) / 366
