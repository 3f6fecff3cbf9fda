from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from training import baselines
from training.baselines import border, fit_baselines, size, thumbnail
from training.corpus import CorpusError, read_corpus

HEADS = {
    "binary": ("covid19", "bacterial_pneumonia"),
    "multiclass": ("covid19", "bacterial_pneumonia", "normal"),
}


@pytest.fixture(scope="module")
def films(corpus):
    return read_corpus(corpus)


@pytest.fixture(scope="module")
def parted(films):
    return [f for f in films if f.split == "train"], [f for f in films if f.split != "train"]


def right(baseline, judged, head):
    scores = next(h for h in baseline.heads if h.head == head)
    decided = [scores.labels[i] for i in scores.probabilities.argmax(axis=1)]
    return np.mean([d == f.label for d, f in zip(decided, judged, strict=True)])


def test_features_see_what_they_are_named_after(films):
    plain = dataclasses.replace(films[0], pixels=np.full((128, 256), 51, np.uint8))
    np.testing.assert_allclose(thumbnail(plain), np.full(64, 0.2), rtol=1e-6)
    assert size(plain).tolist() == [256, 128, 2]
    middle = plain.pixels.copy()
    middle[12:-12, 24:-24] = 255
    np.testing.assert_array_equal(border(dataclasses.replace(plain, pixels=middle)), border(plain))
    assert border(plain).shape == (64 * 64 - 52 * 52,)
    edge = plain.pixels.copy()
    edge[0] = 255
    assert (border(dataclasses.replace(plain, pixels=edge)) != border(plain)).any()


def test_what_a_feature_tells_is_learned(parted):
    training, judged = parted
    found = {b.title: b for b in fit_baselines(training, judged, HEADS)}
    assert set(found) == {
        f"{name}{cohort}"
        for name in ("thumbnail", "border", "size")
        for cohort in ("", ", adult only", ", paediatric only")
    }
    assert right(found["thumbnail"], judged, "multiclass") == 1
    assert right(found["border"], judged, "multiclass") == 1
    assert right(found["size"], judged, "multiclass") < 0.8
    for baseline in found.values():
        for head in baseline.heads:
            np.testing.assert_allclose(head.probabilities.sum(axis=1), 1)
            assert head.probabilities.shape == (len(judged), len(head.labels))


def test_a_class_that_cannot_be_learned_is_never_predicted(parted):
    training, judged = parted
    found = fit_baselines([f for f in training if f.label != "covid19"], judged, HEADS)
    for baseline in found:
        assert [head.head for head in baseline.heads] == ["multiclass"], "binary has but one class to learn"
        assert (baseline.heads[0].probabilities[:, 0] == 0).all()


def test_patients_that_are_judged_are_not_learned_from(films, parted):
    assert fit_baselines(films, films, HEADS) == ()
    training, judged = parted
    apart, all_of_them = (fit_baselines(known, judged, HEADS) for known in (training, films))
    for one, other in zip(apart, all_of_them, strict=True):
        for a, b in zip(one.heads, other.heads, strict=True):
            np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_without_training_films_there_is_no_baseline(parted):
    assert fit_baselines([], parted[1], HEADS) == ()


def test_a_missing_library_is_named_with_its_remedy(parted, monkeypatch):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(baselines, "importlib", SimpleNamespace(import_module=refuse))
    with pytest.raises(CorpusError, match=r"scikit-learn.*cxr-pacs\[train\]"):
        fit_baselines(*parted, HEADS)
