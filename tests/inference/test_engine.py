from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_pacs.errors import EngineError
from cxr_pacs.inference import load_engine
from cxr_pacs.inference.engine import _select

CELLS = 7


def patch(row, column, size=224):
    image = np.zeros((size, size), np.float32)
    image[row : row + 16, column : column + 16] = 1
    return image


def test_scores_come_in_the_order_of_the_manifest_and_sum_to_one(engine):
    findings = engine.analyse(patch(100, 100)).findings
    assert [(s.head, s.label, s.threshold) for s in findings.scores] == [
        ("binary", "covid19", 0.5),
        ("binary", "bacterial_pneumonia", 0.5),
        ("multiclass", "covid19", 0.4),
        ("multiclass", "bacterial_pneumonia", 0.4),
        ("multiclass", "normal", 0.5),
    ]
    for head in ("binary", "multiclass"):
        assert sum(score.score for score in findings.head(head)) == pytest.approx(1)
    assert findings.model is engine.identity


def test_temperature_flattens_the_scores(engine):
    """Both heads ask brightness against its absence by the same logits; multiclass divides them by 2."""
    findings = engine.analyse(patch(100, 100)).findings
    (covid, bacterial), (*_, normal) = findings.head("binary"), findings.head("multiclass")
    margin = np.log(covid.score / bacterial.score)
    other = findings.head("multiclass")[0]
    assert np.log(other.score / normal.score) == pytest.approx(margin / 2, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 208), st.integers(0, 208))
def test_the_map_points_at_the_bright_patch(engine, row, column):
    image = patch(row, column)
    saliency = engine.analyse(image).saliency[0]
    cells = saliency.cells
    assert (saliency.first_centre, saliency.pitch) == ((0.5 / 32, 0.5 / 32), 32 / 224)
    assert cells.shape == (CELLS, CELLS)
    assert cells.dtype == np.float32
    assert cells.max() == 1
    found = np.array(np.unravel_index(cells.argmax(), cells.shape))
    centre = (np.array([row, column]) + 8) / 32 - saliency.first_centre
    assert (abs(found - centre) <= 0.75).all()  # the patch may lie so far beyond the last cell's centre


def test_a_class_that_nothing_argues_for_has_a_map_of_zeros(engine):
    maps = {(s.head, s.label): s.cells for s in engine.analyse(patch(0, 0)).saliency}
    assert not maps["binary", "bacterial_pneumonia"].any()
    assert not np.isnan(maps["multiclass", "normal"]).any()


def test_the_same_image_gives_the_same_bits(engine):
    image = np.random.default_rng(1).random((224, 224), np.float32)
    first, second = engine.analyse(image), engine.analyse(image)
    assert first.findings == second.findings
    for one, other in zip(first.saliency, second.saliency, strict=True):
        assert (one.cells == other.cells).all()


def test_threads_get_the_answers_that_one_caller_gets(engine):
    rng = np.random.default_rng(2)
    images = [
        rng.random((224, 224), np.float32) * brightness
        for brightness in np.linspace(0, 1, 16, dtype=np.float32)
    ]
    alone = [engine.analyse(image).findings for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: engine.analyse(image).findings, images * 3))
    assert together == alone * 3


@pytest.mark.parametrize("shape", [(224, 224), (448, 672), (1000, 900)])
def test_a_picture_of_any_shape_gives_the_same_scores(engine, shape):
    small = np.kron(np.random.default_rng(5).random((28, 28), np.float32), np.ones((8, 8), np.float32))
    large = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST)
    said = [[s.score for s in engine.analyse(p).findings.scores] for p in (small, large)]
    assert said[1] == pytest.approx(said[0], abs=0.01)


def test_without_a_lung_network_there_is_no_mask(engine):
    analysis = engine.analyse(patch(100, 100))
    assert analysis.lungs is None
    assert analysis.quality == ()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64, 1), np.float32),
        np.zeros((0, 64), np.float32),
        np.zeros((224, 224), np.float64),
        np.full((224, 224), 1.5, np.float32),
        np.full((224, 224), -0.5, np.float32),
        np.full((224, 224), np.nan, np.float32),
    ],
    ids=["shape", "empty", "type", "above", "below", "nan"],
)
def test_a_wrong_image_is_refused(engine, image):
    with pytest.raises(ValueError, match="picture"):
        engine.analyse(image)


@pytest.mark.parametrize("device", ["tpu", "gpu:", "gpu:x", "GPU"])
def test_an_unknown_device_is_refused(toy_bundle, device):
    with pytest.raises(EngineError, match="write auto, cpu or gpu:N"):
        load_engine(toy_bundle, device)


def test_a_gpu_that_is_not_there_is_refused(toy_bundle):
    with pytest.raises(EngineError, match=r"'gpu:99' does not exist.*cxr-pacs\[gpu\]"):
        load_engine(toy_bundle, "gpu:99")


PLACEMENT = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from cxr_pacs.inference import engine, load_bundle

cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.set_visible_devices([], "GPU")
asked = sys.argv[2]
engine._select = lambda tf, device: f"/{asked}"
loaded = engine.load_engine(load_bundle(Path(sys.argv[1])), "cpu")
trace = loaded._forward.get_concrete_function()
work = [op for op in trace.graph.get_operations() if op.type in {"Conv2D", "MatMul", "MaxPool", "Mean"}]
assert len(work) > 20, len(work)

forward, passed = loaded._forward, []
def watched(image):
    outputs = forward(image)
    passed.extend([image, *outputs.values()])
    return outputs
loaded._forward = watched
loaded.analyse(np.zeros((300, 200), np.float32))
assert len(passed) == 4, passed
places = [op.device for op in work] + [v.device for v in trace.variables] + [t.device for t in passed]
assert trace.variables and all(place.endswith(f"device:{asked}") for place in places), set(places)
"""


@pytest.mark.parametrize("asked", ["CPU:0", "CPU:1"])
def test_variables_and_computation_are_on_the_device_asked_for(toy_bundle, asked):
    command = [sys.executable, "-c", PLACEMENT, toy_bundle.path, asked]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


class TwoGpus:
    """TensorFlow's configuration on a host with two GPUs, as far as choosing a device needs it."""

    def __init__(self, *, running: bool = False) -> None:
        self.config = self.experimental = self
        self.running = running
        self.visible = ["first", "second"]
        self.growing = set()

    def get_visible_devices(self, kind):
        assert kind == "GPU"
        return self.visible

    def set_visible_devices(self, devices, kind):
        assert kind == "GPU"
        if self.running:
            raise RuntimeError("cannot be modified after being initialized")
        self.visible = devices

    def set_memory_growth(self, gpu, enable):
        if self.running:
            raise RuntimeError("cannot be modified after being initialized")
        assert enable
        self.growing.add(gpu)


@pytest.mark.parametrize(("device", "name"), [("auto", "/GPU:0"), ("gpu:0", "/GPU:0"), ("gpu:1", "/GPU:1")])
def test_every_visible_gpu_gives_memory_as_needed(device, name):
    host = TwoGpus()
    assert _select(host, device) == name
    assert host.growing == {"first", "second"}


def test_an_engine_on_the_cpu_claims_no_gpu():
    host = TwoGpus()
    assert _select(host, "cpu") == "/CPU:0"
    assert host.visible == []
    with pytest.raises(EngineError, match="sees 0 GPUs"):
        _select(host, "gpu:0")


def test_a_running_process_can_still_choose_the_cpu_but_not_share_a_gpu():
    host = TwoGpus(running=True)
    assert _select(host, "cpu") == "/CPU:0"
    with pytest.raises(EngineError, match="load the engine first"):
        _select(host, "gpu:1")


def test_no_tensorflow_is_explained(toy_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(EngineError, match=r"cxr-pacs\[cpu\] or cxr-pacs\[gpu\]"):
        load_engine(toy_bundle, "cpu")


def test_loading_prints_nothing(toy_bundle):
    program = (
        "import sys; from pathlib import Path; from cxr_pacs.inference import load_bundle, load_engine; "
        "load_engine(load_bundle(Path(sys.argv[1])), 'cpu')"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, toy_bundle.path], capture_output=True, text=True, check=True
    )
    assert (said.stdout, said.stderr) == ("", "")
