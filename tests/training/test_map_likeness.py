"""How much maps are alike, and what a bundle says of it."""

from __future__ import annotations

import numpy as np
import pytest
from reading_engines import ReadingEngine, films, lungs_part

from cxr_pacs.inference.manifest import MOST_ALIKE
from training.explain import explain
from training.explain_document import document, notes
from training.map_likeness import ShownMap, likeness, stated
from training.reader import Reader

PATIENTS = 24


def maps(common, seed=0, label="normal", patients=PATIENTS):
    """Maps that share a part of their variance, the square root of `common`; two of each patient."""
    rng = np.random.default_rng(seed)
    template = rng.normal(size=(20, 20))
    return [
        ShownMap(
            patient=f"{number // 2}",
            label=label,
            cells=np.float32(common**0.5 * template + (1 - common) ** 0.5 * rng.normal(size=(20, 20))),
        )
        for number in range(2 * patients)
    ]


@pytest.mark.parametrize("common", [0.0, 0.4, 0.9])
def test_two_maps_correlate_by_the_share_of_variance_that_is_common(common):
    found = likeness(maps(common))["normal"]
    assert found.figure.value == pytest.approx(common, abs=0.06)
    assert found.figure.low <= found.figure.value <= found.figure.high
    assert found.figure.high - found.figure.low < 0.1
    assert (found.images, found.patients) == (2 * PATIENTS, PATIENTS)


def test_films_of_one_patient_are_not_compared():
    rng = np.random.default_rng(1)
    twins = [np.float32(rng.normal(size=(20, 20))) for _ in range(PATIENTS)]
    shown = [
        ShownMap(patient=f"{n}", label="normal", cells=cells) for n, cells in enumerate(twins) for _ in "ab"
    ]
    assert abs(likeness(shown)["normal"].figure.value) < 0.05


def test_few_patients_and_even_maps_say_nothing():
    assert likeness(maps(0.9, patients=9)) == {}
    even = [ShownMap(patient=f"{n}", label="normal", cells=np.ones((3, 3), np.float32)) for n in range(20)]
    assert likeness(even) == {}
    assert stated({}, "test") is None


def test_the_bundle_states_the_class_whose_maps_are_the_most_alike():
    found = likeness([*maps(0.3), *maps(0.9, seed=1, label="covid19")])
    said = stated(found, "test")
    assert (said.label, said.films, said.images) == ("covid19", "test", 2 * PATIENTS)
    assert said.alike > MOST_ALIKE
    assert not said.locate
    assert stated(likeness(maps(0.3)), "test").locate


def test_maps_that_never_move_are_told():
    engine = ReadingEngine(lungs_part)
    found = explain(Reader(engine=engine, segmenter=engine), films())
    assert [one.figure.value for one in found.alike.values()] == pytest.approx([1, 1, 1])
    assert len([note for note in notes(found) if "tell what, hardly where" in note]) == 3
    assert document(found)["maps_alike"]["normal"]["correlation"]["value"] == pytest.approx(1)
