from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.corpus import CorpusError, Film
from training.splits import fold_parts, folds

LABELS = ("covid19", "bacterial_pneumonia", "normal")
SOURCES = ("here", "there")
PIXELS = np.zeros((2, 2), np.uint8)


def film(number, patient, label, source):
    return Film(
        file=f"{number}.png",
        patient=patient,
        label=label,
        view="PA",
        age=None,
        sex="",
        source=source,
        licence="CC0",
        split="train",
        cohort="adult",
        pixels=PIXELS,
    )


patients = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(SOURCES), st.integers(1, 6)), min_size=5, max_size=60
)


def films_of(drawn):
    return [
        film(f"{p}-{i}", f"p{p}", label, source)
        for p, (label, source, count) in enumerate(drawn)
        for i in range(count)
    ]


@settings(deadline=None)
@given(patients, st.integers(2, 5), st.integers(0, 3))
def test_every_film_is_judged_once_by_a_model_that_saw_none_of_its_patient(drawn, count, seed):
    films = films_of(drawn)
    parts = folds(films, count, seed)
    assert len(parts) == count
    assert Counter(f.file for _, test in parts for f in test) == Counter(f.file for f in films)
    for train, test in parts:
        assert len(train) + len(test) == len(films)
        assert not {f.patient for f in train} & {f.patient for f in test}


@settings(deadline=None)
@given(patients, st.integers(2, 5), st.integers(0, 3))
def test_each_class_of_each_source_is_spread_evenly(drawn, count, seed):
    parts = folds(films_of(drawn), count, seed)
    most = max(size for _, _, size in drawn)
    for group in {(label, source) for label, source, _ in drawn}:
        sizes = [sum((f.label, f.source) == group for f in test) for _, test in parts]
        assert max(sizes) - min(sizes) <= most, "no more than one patient's films apart"


def test_the_seed_decides_and_the_order_does_not():
    films = films_of([(label, source, 2) for label in LABELS for source in SOURCES for _ in range(6)])

    def assigned(films, seed):
        return [sorted(f.file for f in test) for _, test in folds(films, 3, seed)]

    assert assigned(films, 0) == assigned(films[::-1], 0)
    assert assigned(films, 0) != assigned(films, 1)


@pytest.mark.parametrize("count", [1, 4])
def test_fewer_patients_than_folds_are_refused(count):
    films = films_of([("normal", "here", 3)] * 3)
    with pytest.raises(CorpusError, match=f"3 patients cannot be parted into {count} folds"):
        folds(films, count, 0)


def test_the_turns_of_a_cross_validation_judge_every_film_once():
    films = films_of([(label, source, 2) for label in LABELS for source in SOURCES for _ in range(16)])
    turns = [fold_parts(films, f"{number}/4", 7) for number in range(1, 5)]
    assert Counter(f.file for turn in turns for f in turn["test"]) == Counter(f.file for f in films)
    for turn in turns:
        patients = [{f.patient for f in turn[split]} for split in ("train", "val", "test")]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 96
        assert min(map(len, patients)) >= 6
        assert len(patients[1]) == pytest.approx(72 / 8, abs=3), "an eighth of those who are not judged"
        assert {(f.label, f.source) for f in turn["val"]} == {(f.label, f.source) for f in films}


def test_a_fold_without_a_validation_part_is_refused():
    films = films_of([("normal", "here", 1)] * 8)
    with pytest.raises(CorpusError, match="6 patients beside fold 1/5 are too few: it takes 10"):
        fold_parts(films, "1/5", 0)


@pytest.mark.parametrize("fold", ["0/5", "6/5", "5", "a/b", "", "-1/5"])
def test_a_fold_that_is_none_is_named(fold):
    with pytest.raises(CorpusError, match="write 1/5 to 5/5"):
        fold_parts(films_of([("normal", "here", 1)] * 9), fold, 0)
