"""What every evidence test needs: a stamp, findings, and external validators."""

from __future__ import annotations

import datetime as dt
import io
import uuid

import pytest
from bright_engine import CLASSES
from data_folder import dicom_files
from peers import dciodvfy, dcmtk
from pydicom import dcmread
from radiographs import make_radiograph

from cxr_pacs.evidence import HeatmapPicture, ReadInstance, Stamp, heatmap, report
from cxr_pacs.inference.findings import ClassScore, Findings, ModelIdentity

# there is nothing to read real headers from without the folder of samples
collect_ignore = [] if dicom_files() else ["test_evidence_of_real_headers.py"]

MODEL = ModelIdentity(
    name="example-resnet50",
    version="1.2.0",
    digest="0123456789abcdef" * 4,
    device_uid="2.25.98765432109876543210",
    manufacturer="Example Research",
    preprocessing="squash-area-224",
    intended_use="Research use only",
    classes=CLASSES,
)


@pytest.fixture
def model():
    return MODEL


@pytest.fixture
def findings():
    scores = {
        ("binary", "covid19"): 0.93,
        ("binary", "bacterial_pneumonia"): 0.07,
        ("multiclass", "covid19"): 0.8125,
        ("multiclass", "bacterial_pneumonia"): 0.15,
        ("multiclass", "normal"): 0.0375,
    }
    return Findings(
        scores=tuple(
            ClassScore(head=head, label=label, score=score, threshold=0.42)
            for (head, label), score in scores.items()
        ),
        model=MODEL,
    )


@pytest.fixture
def stamp():
    return Stamp(
        site_namespace=uuid.UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2"),
        configuration_digest="c0ffee" * 8,
        made_at=dt.datetime(2026, 1, 2, 10, 20, 30, 456789, tzinfo=dt.UTC),
        software_version="0.1.0",
    )


@pytest.fixture
def read(findings):
    """A read instance of a synthetic radiograph; tags as for `make_radiograph`."""

    def make(*quality, **tags):
        dataset = make_radiograph(**tags)
        del dataset.PixelData
        return ReadInstance(header=dataset, findings=findings, quality=quality)

    return make


@pytest.fixture
def both(stamp):
    """Heatmap of the multiclass COVID-19 score and report of one read instance."""

    def make(instance, picture):
        shown = instance.findings.head("multiclass")[0]
        saliency = picture * 0
        saliency[picture.shape[0] // 2 :, : picture.shape[1] // 3] = 1
        drawn = heatmap(instance, HeatmapPicture(pixels=picture, saliency=saliency, shown=shown), stamp)
        return drawn, report([instance], [drawn], (), stamp)

    return make


def part10(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def encoded():
    return part10


@pytest.fixture
def read_back():
    return lambda dataset: dcmread(io.BytesIO(part10(dataset)))


@pytest.fixture
def dciodvfy_errors(tmp_path):
    """Errors that dicom3tools' validator finds in a dataset."""

    def run(dataset):
        path = tmp_path / "object.dcm"
        path.write_bytes(part10(dataset))
        return [line for line in dciodvfy(path) if line.startswith("Error")]

    return run


@pytest.fixture
def dsrdump(tmp_path):
    """Text of a report as DCMTK reads it."""

    def run(dataset):
        path = tmp_path / "report.dcm"
        path.write_bytes(part10(dataset))
        result = dcmtk("dsrdump", "--print-all-codes", "--print-long-values", path)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
