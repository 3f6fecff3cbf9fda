"""Requests of several threads go through the network together, and each gets its own answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import engine as engines
from cxr_pacs.inference import load_bundle, load_engine
from cxr_pacs.inference.batching import Batches


class Doubling:
    """Doubles; the first call waits until it is let go."""

    def __init__(self):
        self.sizes = []
        self.go = threading.Event()

    def __call__(self, many):
        self.sizes.append(len(many))
        if len(self.sizes) == 1:
            assert self.go.wait(20)
        if (many == 13).any():
            raise RuntimeError("unlucky")
        return [2 * one for one in many]


def gathered(doubling, batches, values):
    """Ask for all values while the first call runs."""
    with ThreadPoolExecutor(len(values)) as pool:
        first = pool.submit(batches, np.float32(values[0]))
        while not doubling.sizes:
            pass
        rest = [pool.submit(batches, np.float32(value)) for value in values[1:]]
        while len(batches._waiting) < len(rest):
            pass
        doubling.go.set()
        return [first, *rest]


def test_what_gathers_while_one_call_runs_is_one_call_of_at_most_the_largest_size():
    doubling = Doubling()
    batches = Batches(doubling, 4)
    answers = gathered(doubling, batches, range(10))
    assert [answer.result() for answer in answers] == [2 * value for value in range(10)]
    assert doubling.sizes == [1, 4, 4, 1]


def test_a_failure_reaches_those_who_were_in_the_call_and_no_other():
    doubling = Doubling()
    batches = Batches(doubling, 2)
    answers = gathered(doubling, batches, [13, 1, 2])
    with pytest.raises(RuntimeError, match="unlucky"):
        answers[0].result()
    assert [answer.result() for answer in answers[1:]] == [2, 4]


def test_an_image_in_company_has_the_scores_that_it_has_alone(tmp_path, monkeypatch):
    """What a GPU does is done here on the CPU: TensorFlow puts on it what no GPU takes."""
    bundle = load_bundle(write_toy_bundle(tmp_path / "toy", size=224, lungs="lung-fields-area"))
    single = load_engine(bundle, "cpu")
    monkeypatch.setattr(engines, "_select", lambda *_: "/GPU:0")
    together = load_engine(bundle, "auto", 8)
    sizes = []
    see = together._see

    def watched(squares):
        sizes.append(len(squares))
        return see(squares)

    together._see_one._run = watched
    rng = np.random.default_rng(3)
    pictures = [
        np.clip(rng.random((300, 250), np.float32) * share, 0, 1)
        for share in np.linspace(0.2, 1, 24, dtype=np.float32)
    ]
    alone = [single.analyse(picture) for picture in pictures]
    with ThreadPoolExecutor(12) as pool:
        company = list(pool.map(together.analyse, pictures))
    assert max(sizes) > 1
    for one, other in zip(alone, company, strict=True):
        for score, same in zip(one.findings.scores, other.findings.scores, strict=True):
            assert same.score == pytest.approx(score.score, abs=1e-5)
        for mine, theirs in zip(one.saliency, other.saliency, strict=True):
            np.testing.assert_allclose(theirs.cells, mine.cells, atol=1e-4)


def test_on_a_cpu_images_go_alone_and_side_by_side(toy_bundle):
    assert load_engine(toy_bundle, "cpu", 16)._largest == 1
