"""The optional objects of one synthetic radiograph, and validators over them."""

from __future__ import annotations

import io

import numpy as np
import peers
from radiographs import synthetic_chest

from cxr_pacs.evidence import (
    HeatmapPicture,
    ReportedStudy,
    heatmap,
    key_objects,
    plain_report,
    presentation_state,
    report,
    segmentation,
)

_NOT_OURS = (
    # dicom3tools knows no Device UID of Contributing Equipment, which the standard has there (PS3.3 C.12.1)
    "(0x0018,0x1002)",
    "attributes not present in standard DICOM IOD",
    # what the source lacks, or says so, of its patient and study
    *(f"build DICOMDIR - {name}" for name in ("Patient ID", "Study Date", "Study Time", "Study ID")),
    *(f"for DICOMDIR - {name}" for name in ("Patient ID", "Study Date", "Study Time", "Study ID")),
    "Retired Person Name form",
)


def blob(rows, columns, *, row=0.6, column=0.3):
    """A smooth map with one summit, in [0, 1]."""
    y, x = np.mgrid[:rows, :columns]
    distance = ((x / columns - column) ** 2 + (y / rows - row) ** 2) / 0.02
    return np.exp(-distance).astype(np.float32)


def picture_of(instance, index=None, *, saliency=None, aspect=1.0):
    rows, columns = instance.header.Rows, instance.header.Columns
    return HeatmapPicture(
        pixels=synthetic_chest(rows, columns, 0),
        saliency=blob(rows, columns) if saliency is None else saliency,
        shown=instance.findings.principal if index is None else instance.findings.scores[index],
        aspect=aspect,
    )


def study_of(stamp, *instances):
    """A reported study, with a heatmap of each image that has a score."""
    drawn = tuple(heatmap(i, picture_of(i), stamp) for i in instances if i.findings.scores)
    document = report(instances, drawn, (), stamp)
    return ReportedStudy(instances=tuple(instances), heatmaps=drawn, document=document)


def all_of(instance, stamp):
    """Every object that is made of one image, optional ones last."""
    picture, study = picture_of(instance), study_of(stamp, instance)
    return [
        *study.heatmaps,
        study.document,
        segmentation(instance, picture, stamp),
        presentation_state(instance, picture, stamp),
        key_objects(study, (), stamp),
        plain_report(study, (), stamp),
    ]


def part10(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dciodvfy(dataset, folder):
    """Complaints of dicom3tools about one object: errors and warnings."""
    complaints = peers.dciodvfy(_written(dataset, folder / "object.dcm"))
    return [line for line in complaints if not any(known in line for known in _NOT_OURS)]


def dcentvfy(datasets, folder):
    """Errors of dicom3tools about the objects of one study together."""
    paths = [_written(dataset, folder / f"of-study-{n}.dcm") for n, dataset in enumerate(datasets)]
    return [line for line in peers.dcentvfy(paths) if line.startswith("Error")]


def _written(dataset, path):
    path.write_bytes(part10(dataset))
    return path
