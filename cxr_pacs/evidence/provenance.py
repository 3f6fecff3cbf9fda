"""What every evidence object says of its origin: study, series, equipment, contributing algorithm, times."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes, words
from cxr_pacs.evidence.attributes import character_set
from cxr_pacs.evidence.identity import EQUIPMENT_MODEL, MANUFACTURER, Stamp
from cxr_pacs.evidence.source import ReadInstance, patient_and_study, timezone
from cxr_pacs.inference.findings import ModelIdentity

__all__ = ["DISCLAIMER", "Output", "common_model", "common_modules", "long_string", "settle_character_set"]

DISCLAIMER: Final = words.DISCLAIMER.en

_IMPLEMENTATION_CLASS_UID: Final = UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, 'cxr-pacs').int}")
_IMPLEMENTATION_VERSION_NAME: Final = "CXR_PACS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What is particular to one evidence object.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid : UID
        Its identity.
    modality, series_description : str
        As the series is to be listed.
    series_number, instance_number : int
        At least 1.
    """

    sop_class_uid: UID
    sop_instance_uid: UID
    series_instance_uid: UID
    modality: str
    series_description: str
    series_number: int
    instance_number: int


def common_modules(header: Dataset, output: Output, model: ModelIdentity, stamp: Stamp) -> FileDataset:
    """Begin an object in the study of `header` with the modules that all evidence shares.

    Patient, General Study, Series, General Equipment and SOP Common (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1
    and C.12.1), all times from `stamp`. The caller adds the rest and then calls `settle_character_set`.

    Raises
    ------
    EvidenceError
        `header` lacks a usable StudyInstanceUID.
    """
    dataset = FileDataset(
        "",
        patient_and_study(header),
        preamble=b"\0" * 128,
        file_meta=_file_meta(output),
        is_implicit_VR=False,
        is_little_endian=True,
    )
    dataset.SOPClassUID = output.sop_class_uid
    dataset.SOPInstanceUID = output.sop_instance_uid
    dataset.InstanceNumber = output.instance_number
    dataset.SeriesInstanceUID = output.series_instance_uid
    dataset.SeriesNumber = output.series_number
    dataset.SeriesDescription = long_string(output.series_description)
    dataset.Modality = output.modality
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = EQUIPMENT_MODEL
    dataset.SoftwareVersions = [
        long_string(stamp.software_version),
        long_string(f"{model.name} {model.version}"),
    ]

    zone = timezone(header)
    made_at = stamp.made_at.astimezone(zone) if zone else stamp.made_at
    if zone:
        dataset.TimezoneOffsetFromUTC = f"{made_at:%z}"
    dataset.InstanceCreationDate = dataset.ContentDate = f"{made_at:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.ContentTime = f"{made_at:%H%M%S.%f}"
    dataset.ContributingEquipmentSequence = [_algorithm_equipment(model, made_at)]
    return dataset


def settle_character_set(dataset: Dataset, header: Dataset) -> None:
    """Declare the character set that all text of `dataset` needs, if any, preferring that of `header`."""
    terms = character_set(header, _texts(dataset))
    if terms:
        dataset.SpecificCharacterSet = terms


def common_model(instances: Sequence[ReadInstance]) -> ModelIdentity:
    """Return the one model that read all `instances`; EvidenceError when there is none, or several."""
    models = {instance.findings.model for instance in instances}
    if len(models) != 1:
        raise EvidenceError(
            f"a report needs images read by exactly one model, these were read by {len(models)}: "
            "read them again with one bundle"
        )
    return models.pop()


def long_string(text: str) -> str:
    """`text` as one LO value: at most 64 characters, no backslash (PS3.5 6.2)."""
    return text.replace("\\", "/")[:64].strip()


def _file_meta(output: Output) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = output.sop_class_uid
    meta.MediaStorageSOPInstanceUID = output.sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = _IMPLEMENTATION_VERSION_NAME
    return meta


def _algorithm_equipment(model: ModelIdentity, made_at: dt.datetime) -> Dataset:
    """Contributing Equipment item of the algorithm (PS3.3 C.12.1; IHE AI Results 6.5.3.1)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [codes.item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = long_string(model.manufacturer)
    item.ManufacturerModelName = long_string(model.name)
    item.SoftwareVersions = long_string(model.version)
    item.DeviceUID = model.device_uid
    item.ContributionDateTime = f"{made_at:%Y%m%d%H%M%S.%f%z}"
    item.ContributionDescription = f"{DISCLAIMER}. {words.sentence(model.intended_use)}"[:1024]
    return item


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
            yield str(element.value)
