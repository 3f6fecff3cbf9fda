"""A bundle whose tiny network, set by hand, looks for one bright patch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cxr_pacs.inference.architecture import Architecture, LungNetwork
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

_LUNGS = """
[lungs]
file = "lungs.npz"
sha256 = "{sha256}"
size = 32
widths = [2, 2]
"""

_CLAIM = """
[[claims]]
head = "{head}"
label = "{label}"
age_low = 0
age_high = 120
views = ["PA", "AP"]
films = "imagined films"
positives = 30
others = 30
figure = "AUROC"
value = 0.9
low = 0.8
high = 1.0
baseline = "none"
baseline_value = 0.5
gain_low = 0.1
"""

_HEADS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}


def write_toy_bundle(folder: Path, *, size: int = 64, lungs: str | None = None) -> Path:
    """
    Write the bundle into `folder`; everything is claimed for everybody.

    Its input is a square of `size`, with a feature cell each 32 pixels. With `lungs` it has a lung network,
    which takes what is darker than mid-scale for lung, and its preprocessing is `lungs` (``squash-area`` or
    ``lung-fields-area``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = pack_weights(_weights())
    (folder / "weights.npz").write_bytes(packed)
    manifest = _MANIFEST.format(size=size, sha256=hashlib.sha256(packed).hexdigest())
    if lungs is not None:
        packed = pack_weights(_lung_weights())
        (folder / "lungs.npz").write_bytes(packed)
        manifest = manifest.replace("squash-area", lungs)
        manifest += _LUNGS.format(sha256=hashlib.sha256(packed).hexdigest())
    for head, labels in _HEADS.items():
        manifest += "".join(_CLAIM.format(head=head, label=label) for label in labels)
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    return folder


def _lung_weights() -> dict[str, np.ndarray]:
    """Carry darkness past the lower level: the network sees 4 p - 2, the first channel becomes 2 - 4 p."""
    weights = {
        name: np.zeros(shape, np.float32)
        for name, shape in LungNetwork(size=32, widths=(2, 2)).weight_shapes().items()
    }
    for name, array in weights.items():
        if name.endswith(("gamma", "moving_variance")):
            array[...] = 1
    weights["down0a_conv/kernel"][1, 1, 0, 0] = -1
    weights["down0b_conv/kernel"][1, 1, 0, 0] = 1
    weights["up0a_conv/kernel"][1, 1, 2, 0] = 1  # what the upper level passed comes after the lower level's
    weights["up0b_conv/kernel"][1, 1, 0, 0] = 1
    weights["lungs/kernel"][0, 0, 0, :] = 1
    weights["lungs/bias"][:] = -0.01
    return weights


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
