from __future__ import annotations

import csv
import shutil

import cv2
import numpy as np
import pytest
from brightness_corpus import COLUMNS, write_manifest

from training.corpus import CorpusError, read_corpus, squash_square
from training.splits import group_weights, split_by_patient


@pytest.fixture
def changeable(corpus, tmp_path):
    """A copy of the corpus, and a function that rewrites its manifest row by row."""
    folder = shutil.copytree(corpus, tmp_path / "corpus")

    def rewrite(change, columns=COLUMNS):
        with (folder / "manifest.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        change(rows)
        write_manifest(folder, rows, columns)
        return folder

    return rewrite


def unchanged(rows):
    """The manifest stays as it is."""


def test_films_are_as_the_manifest_says(corpus):
    films = read_corpus(corpus)
    assert len(films) == 72
    assert films[1].label == "bacterial_pneumonia"
    assert films[1].pixels.dtype == np.uint8
    assert {film.adult for film in films if film.source == "here"} == {True}
    assert {film.adult for film in films if film.source == "there"} == {False}


def test_no_manifest_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"manifest\.csv cannot be read"):
        read_corpus(tmp_path)


def test_a_missing_column_is_named(changeable):
    columns = [column for column in COLUMNS if column != "patient_id"]
    with pytest.raises(CorpusError, match="has no column patient_id"):
        read_corpus(changeable(unchanged, columns))


def test_a_missing_image_is_named_with_its_line(changeable):
    folder = changeable(unchanged)
    (folder / "3.png").unlink()
    with pytest.raises(CorpusError, match=r"line 5: image 3\.png is missing"):
        read_corpus(folder)


def test_a_file_that_is_no_image_is_named(changeable):
    folder = changeable(unchanged)
    (folder / "0.png").write_bytes(b"no image")
    with pytest.raises(CorpusError, match=r"line 2: image 0\.png"):
        read_corpus(folder)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("label", "viral", "line 2: label 'viral' is none of covid19"),
        ("patient_id", "", "line 2: patient_id is empty"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(changeable, column, value, problem):
    with pytest.raises(CorpusError, match=problem):
        read_corpus(changeable(lambda rows: rows[0].update({column: value})))


def test_a_patient_in_two_splits_is_refused(changeable):
    films = read_corpus(changeable(lambda rows: rows[0].update(split="test")))
    with pytest.raises(CorpusError, match="1 patients are in several splits, the first is 'covid19-0'"):
        split_by_patient(films)


def test_an_unknown_split_is_refused(changeable):
    films = read_corpus(changeable(lambda rows: [row.update(split="holdout") for row in rows]))
    with pytest.raises(CorpusError, match="'holdout' is none of train, val, test"):
        split_by_patient(films)


def test_an_empty_split_is_refused(changeable):
    films = read_corpus(changeable(lambda rows: [row.update(split="train") for row in rows]))
    with pytest.raises(CorpusError, match="split 'val' has no film"):
        split_by_patient(films)


def test_no_patient_is_in_two_splits(corpus):
    parts = split_by_patient(read_corpus(corpus))
    patients = [{film.patient for film in part} for part in parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert {name: len(part) for name, part in parts.items()} == {"train": 36, "val": 18, "test": 18}


def test_groups_of_a_class_and_source_weigh_the_same(corpus):
    films = [film for film in read_corpus(corpus) for _ in range(10)]
    few = [film for film in films if film.source == "there"][:40]
    mixed = [film for film in films if film.source == "here"] + few
    weights = group_weights(mixed)
    assert weights.sum() == pytest.approx(1)
    sums = {}
    for film, weight in zip(mixed, weights, strict=True):
        key = (film.label, film.source)
        sums[key] = sums.get(key, 0) + weight
    full = max(sums.values())
    members = {key: sum((f.label, f.source) == key for f in mixed) for key in sums}
    for key, weight in sums.items():
        assert weight == pytest.approx(full * min(1, members[key] / 20))


def test_a_film_is_squashed_whatever_its_shape():
    film = np.repeat(np.array([[0, 255]], np.uint8), 40, axis=1).repeat(30, axis=0)
    square = squash_square(film, 10)
    assert square.shape == (10, 10)
    np.testing.assert_array_equal(square[:, :5], 0)
    np.testing.assert_array_equal(square[:, 5:], 1)
    assert cv2.mean(square)[0] == pytest.approx(0.5)
