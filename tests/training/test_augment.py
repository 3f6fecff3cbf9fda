from __future__ import annotations

import numpy as np

from training.augment import Augmentation, augment
from training.corpus import squash_square

NONE = Augmentation(crop=0, turn=0, gamma=0, contrast=0)
MUCH = Augmentation(crop=0.3, turn=20, gamma=0.5, contrast=0.3)
FILM = np.random.default_rng(5).integers(0, 256, (70, 90)).astype(np.uint8)


def test_no_augmentation_leaves_the_film_or_its_mirror():
    rng = np.random.default_rng(0)
    plain = squash_square(FILM, 32)
    for _ in range(8):
        changed = augment(FILM, 32, NONE, rng)
        assert min(abs(changed - plain).max(), abs(changed - plain[:, ::-1]).max()) < 1e-5


def test_augmented_films_stay_in_range_and_follow_the_seed():
    rngs = np.random.default_rng(1), np.random.default_rng(1)
    first, second = ([augment(FILM, 32, MUCH, rng) for _ in range(8)] for rng in rngs)
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.float32
        assert one.shape == (32, 32)
        assert 0 <= one.min() <= one.max() <= 1
        np.testing.assert_array_equal(one, other)
    assert any((one != first[0]).any() for one in first[1:])
