from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from training import lungs
from training.corpus import CorpusError
from training.lungs import LAYOUT, LungPair, dice, read_lungs

COLUMNS = ("image", "mask", "patient_id", "source", "content_box", "split")


def write(folder, rows):
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.fixture
def rows(tmp_path):
    """Two pairs of 60 x 40 within a border of 5; the mask is a bright block."""
    made = []
    for number, source in enumerate(("nlm-montgomery", "v7")):
        pixels = np.full((70, 50), 9, np.uint8)
        pixels[5:65, 5:45] = 60
        mask = np.zeros((70, 50), np.uint8)
        mask[20:50, 10:22] = 255
        pixels[mask > 0] = 200
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
        cv2.imwrite(str(tmp_path / f"{number}-mask.png"), mask)
        made.append(
            {
                "image": f"{number}.png",
                "mask": f"{number}-mask.png",
                "patient_id": f"p{number}",
                "source": source,
                "content_box": "5,5,40,60",
                "split": "train",
            }
        )
    return made


def test_pairs_are_read_and_cut_to_their_content(rows, tmp_path):
    first, second = read_lungs(write(tmp_path, rows))
    assert first.pixels.shape == first.lungs.shape == (60, 40)
    assert first.pixels.min() == 60
    np.testing.assert_array_equal(first.lungs, first.pixels == 200)
    assert (first.convention, second.convention) == (1, 0)
    assert (first.patient, first.source, first.split) == ("p0", "nlm-montgomery", "train")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "none.png"}, "line 3"),
        ({"mask": "other.png"}, "two pictures of one size"),
        ({"content_box": "5,5,40"}, "content_box"),
        ({"content_box": "a,b,c,d"}, "content_box"),
        ({"patient_id": "p0", "split": "test"}, "several splits"),
    ],
)
def test_what_is_wrong_with_a_pair_is_told_by_its_line(rows, tmp_path, change, said):
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((9, 9), np.uint8))
    rows[1] |= change
    with pytest.raises(CorpusError, match=said) as error:
        read_lungs(write(tmp_path, rows))
    assert "line 3" in str(error.value)


def test_a_manifest_that_is_missing_or_lacks_a_column_is_told(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read"):
        read_lungs(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("image,mask\n")
    with pytest.raises(CorpusError, match="no column content_box"):
        read_lungs(tmp_path / "manifest.csv")


def pair(convention=0):
    mask = np.zeros((90, 70), np.bool_)
    mask[20:70, 8:30] = True
    mask[20:70, 40:62] = True
    return LungPair(
        source="v7",
        split="train",
        patient="p",
        convention=convention,
        pixels=np.where(mask, 40, 200).astype(np.uint8),
        lungs=mask,
    )


class _Said:
    """A network that finds what is dark, in the channel of one convention alone."""

    def __init__(self, channel):
        self._channel = channel

    def __call__(self, squares, *, training):
        assert squares.shape == (1, LAYOUT.size, LAYOUT.size)
        logits = np.full((*squares.shape, 2), -9, np.float32)
        logits[..., self._channel] = 9 * np.sign(0.5 - squares)
        return logits


def test_dice_is_one_where_the_lungs_are_found_and_none_where_not():
    assert dice(_Said(0), [pair()])[0] > 0.96
    assert dice(_Said(0), [pair(convention=1)])[0] == 0
    assert dice(_Said(1), [pair(convention=1), pair()]) == pytest.approx([1, 0], abs=0.04)


def test_image_and_mask_are_changed_together():
    rng = np.random.default_rng(3)
    for convention in (0, 1):
        shares = []
        for _ in range(12):
            image, target = lungs._changed(pair(convention), rng)
            assert image.shape == (LAYOUT.size, LAYOUT.size)
            assert target.shape == (LAYOUT.size, LAYOUT.size, 2)
            assert image.dtype == target.dtype == np.float32
            assert 0 <= image.min() <= image.max() <= 1
            assert (target[..., 1] == convention).all()
            inside = target[..., 0] > 0.5
            assert image[inside].mean() < image[~inside].mean() - 0.05
            shares.append(inside.mean())
        assert np.ptp(shares) > 0.05


def test_the_loss_looks_at_the_channel_of_the_convention_alone():
    truth = pair().lungs.astype(np.float32)[np.newaxis]
    right, wrong = (truth - 0.5) * 18, (0.5 - truth) * 18
    for convention in (0, 1):
        target = np.stack((truth, np.full_like(truth, convention)), axis=-1)
        said = [right, wrong] if convention == 0 else [wrong, right]
        good = float(lungs._loss(target, np.stack(said, axis=-1)))
        bad = float(lungs._loss(target, np.stack(said[::-1], axis=-1)))
        assert good < 0.01
        assert bad > 5
