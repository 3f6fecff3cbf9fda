from __future__ import annotations

import cv2
import numpy as np
import pytest
from radiographs import synthetic_chest

from training.corpus import Film
from training.duplicates import find_duplicates


def film(picture):
    words = dict.fromkeys(
        ("file", "patient", "label", "view", "sex", "source", "licence", "split", "cohort"), ""
    )
    return Film(**words, age=None, pixels=(picture * 255).astype(np.uint8))


def chest(seed):
    """A chest with shadows of its own, so that no two seeds are alike."""
    rng = np.random.default_rng(seed)
    shadows = cv2.resize(rng.random((7, 7)).astype(np.float32), (300, 360), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.5 * synthetic_chest(360, 300, seed) + 0.5 * shadows, 0, 1)


def coded(picture, quality):
    _, written = cv2.imencode(".jpg", (picture * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(written, cv2.IMREAD_GRAYSCALE) / np.float32(255)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture,
        lambda picture: cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LANCZOS4).clip(0, 1),
        lambda picture: coded(picture, 30),
        lambda picture: picture ** np.float32(1.3),
        lambda picture: 0.1 + 0.7 * picture,
        lambda picture: picture[3:-3, 3:-3],
    ],
    ids=["copy", "squashed", "compressed", "gamma", "contrast", "trimmed"],
)
def test_a_copy_is_found_among_others(change):
    pictures = [chest(seed) for seed in range(12)]
    (found,) = find_duplicates([film(picture) for picture in (*pictures, change(pictures[5]))])
    assert (found.first, found.second) == (5, 12)
    assert found.distance <= 12
    assert 0.97 <= found.correlation <= 1 + 1e-9


def test_three_copies_are_three_pairs():
    found = find_duplicates([film(chest(1))] * 3)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]


def test_pairs_are_found_beyond_one_block(monkeypatch):
    films = [film(chest(seed)) for seed in (0, 1, 2, 3, 0, 1)]
    whole = find_duplicates(films)
    monkeypatch.setattr("training.duplicates._BLOCK", 2)
    assert find_duplicates(films) == whole
    assert [(pair.first, pair.second) for pair in whole] == [(0, 4), (1, 5)]


@pytest.mark.parametrize("films", [[], [film(chest(0))], [film(np.zeros((9, 9))), film(np.zeros((9, 9)))]])
def test_nothing_to_compare_is_no_pair(films):
    assert find_duplicates(films) == ()
