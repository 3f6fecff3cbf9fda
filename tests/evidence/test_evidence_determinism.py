"""The same input makes the same bytes, in any process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from radiographs import synthetic_chest

PIXELS = synthetic_chest(700, 600, 0)
TESTS = Path(__file__).resolve().parent.parent

PROGRAM = """
import hashlib, io, sys, uuid, datetime
import numpy as np
from cxr_pacs.evidence import HeatmapPicture, ReadInstance, Stamp, heatmap, report
from cxr_pacs.inference.findings import ClassCode, ClassScore, Findings, ModelIdentity
from radiographs import make_radiograph, synthetic_chest

model = ModelIdentity(name="m", version="1", digest="d" * 64, device_uid="2.25.1", manufacturer="x",
                      preprocessing="p", intended_use="Research use only",
                      classes=(ClassCode(label="normal", value="17621005", scheme="SCT", meaning="Normal"),))
score = ClassScore(head="multiclass", label="normal", score=0.5, threshold=0.5)
instance = ReadInstance(header=make_radiograph(), findings=Findings(scores=(score,), model=model),
                        quality=("One.", "Two."))
stamp = Stamp(site_namespace=uuid.UUID(int=1), configuration_digest="c",
              made_at=datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), software_version="0")
pixels = synthetic_chest(700, 600, 0)
drawn = heatmap(instance, HeatmapPicture(pixels=pixels, saliency=pixels, shown=score), stamp)
for dataset in (drawn, report([instance], [drawn], (), stamp)):
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    print(hashlib.sha256(buffer.getvalue()).hexdigest())
"""


def test_twice_in_one_process(read, both, encoded):
    first, second = ([encoded(dataset) for dataset in both(read("One."), PIXELS)] for _ in range(2))
    assert first == second


@pytest.fixture
def digests():
    def run(seed):
        environment = os.environ | {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        }
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, env=environment
        )
        return result.stdout.split()

    return run


def test_in_processes_with_other_hash_seeds(digests):
    first = digests("1")
    assert len(first) == 2
    assert all(len(digest) == hashlib.sha256().digest_size * 2 for digest in first)
    assert first == digests("2") == digests("777")
