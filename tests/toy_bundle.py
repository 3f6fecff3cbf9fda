"""A bundle whose tiny network, set by hand, looks for one bright patch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cxr_pacs.inference.architecture import Architecture
from cxr_pacs.inference.bundle import MANIFEST, pack_weights

_MANIFEST = """\
name = "toy"
version = "0.0.1"
manufacturer = "cxr-pacs tests"
device_uid = "2.25.280829386612351018093423413409174583951"
intended_use = "Tests only"
licence = "Apache-2.0"
limitations = ["It looks for one bright patch and calls it what its heads call first."]

[network]
layout = "resnet-v1"
stages = [1, 1, 1, 1]
width = 2

[preprocessing]
identifier = "squash-area-{size}"
mean = [0.0, 0.0, 0.0]
deviation = [1.0, 1.0, 1.0]

[weights]
file = "weights.npz"
sha256 = "{sha256}"

[[heads]]
name = "binary"
temperature = 1.0
labels = [
    {{ name = "covid19", code = {{ value = "840539006", scheme = "SCT", meaning = "COVID-19" }}, \
threshold = 0.5, chosen = "by hand" }},
    {{ name = "bacterial_pneumonia", code = {{ value = "53084003", scheme = "SCT", \
meaning = "Bacterial pneumonia" }}, threshold = 0.5, chosen = "by hand" }},
]

[[heads]]
name = "multiclass"
temperature = 2.0
labels = [
    {{ name = "covid19", code = {{ value = "840539006", scheme = "SCT", meaning = "COVID-19" }}, \
threshold = 0.4, chosen = "by hand" }},
    {{ name = "bacterial_pneumonia", code = {{ value = "53084003", scheme = "SCT", \
meaning = "Bacterial pneumonia" }}, threshold = 0.4, chosen = "by hand" }},
    {{ name = "normal", code = {{ value = "17621005", scheme = "SCT", meaning = "Normal" }}, \
threshold = 0.5, chosen = "by hand" }},
]

[training]
procedure = "Weights set by hand."
seed = 0
sources = [{{ name = "none", citation = "none", licences = ["none"], images = 1, patients = 1 }}]

[[metrics]]
head = "multiclass"
name = "accuracy"
films = "one imagined film"
value = 1.0
low = 0.0
high = 1.0
images = 1
patients = 1
interval = "none"
"""


def write_toy_bundle(folder: Path, *, size: int = 64) -> Path:
    """Write the bundle into `folder`; its input is a square of `size`, with a feature cell each 32 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = pack_weights(_weights())
    (folder / "weights.npz").write_bytes(packed)
    manifest = _MANIFEST.format(size=size, sha256=hashlib.sha256(packed).hexdigest())
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    return folder


def _weights() -> dict[str, np.ndarray]:
    """
    Carry brightness along channel 0, so that a feature cell holds the mean brightness about its centre.

    A stride keeps every other place only, so before each of the three last ones a 3x3 convolution smooths
    evenly to all sides: each pixel counts the same over all cells, most in the cell whose centre is nearest.
    The first label of each head asks for brightness, the last for its absence.
    """
    architecture = Architecture(stages=(1, 1, 1, 1), width=2, heads=(("binary", 2), ("multiclass", 3)))
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.weight_shapes().items()}
    for name, array in weights.items():
        if name.endswith(("gamma", "moving_variance")):
            array[...] = 1
    weights["conv1_conv/kernel"][:, :, :, 0] = 1 / (7 * 7 * 3)
    *averaging, last = [block.name for block in architecture.blocks()]
    for name in (*averaging, last):
        weights[f"{name}_1_conv/kernel"][0, 0, 0, 0] = 1
        weights[f"{name}_3_conv/kernel"][0, 0, 0, 0] = 1
    for name in averaging:
        weights[f"{name}_2_conv/kernel"][:, :, 0, 0] = np.outer([1, 2, 1], [1, 2, 1]) / 16
    weights[f"{last}_2_conv/kernel"][1, 1, 0, 0] = 1
    for head in ("binary", "multiclass"):
        weights[f"{head}/kernel"][0, 0] = 200
        weights[f"{head}/kernel"][0, -1] = -200
        weights[f"{head}/bias"][-1] = 1
    return weights
