"""In which lung of the picture a map lies, and when that is not told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from toy_bundle import write_toy_bundle

from cxr_pacs.inference import ClassScore, Findings, ModelIdentity, Saliency, load_bundle, load_engine
from cxr_pacs.inference.bundle import MANIFEST
from cxr_pacs.inference.lateral import MAINLY, located
from cxr_pacs.inference.manifest import MOST_ALIKE

MODEL = ModelIdentity(
    name="m",
    version="1",
    digest="d",
    device_uid="2.25.1",
    manufacturer="x",
    preprocessing="p",
    intended_use="Research use only",
    classes=(),
)
FINDINGS = Findings(scores=(ClassScore(head="h", label="a", score=0.9, threshold=0.5),), model=MODEL)
LEFT, RIGHT = (slice(60, 240), slice(30, 120)), (slice(60, 240), slice(180, 270))


def lungs(*parts, shape=(300, 300)):
    mask = np.zeros(shape, np.bool_)
    for part in parts:
        mask[part] = True
    return mask


def side(cells, mask):
    """Of a map of 10 x 10 cells that divide the picture evenly."""
    saliency = Saliency(
        head="h", label="a", cells=np.asarray(cells, np.float32), first_centre=(0.5, 0.5), pitch=1 / 10
    )
    (score,) = located(FINDINGS, [saliency], mask).scores
    return score.side


def spots(*places):
    cells = np.zeros((10, 10), np.float32)
    for row, column, value in places:
        cells[row, column] = value
    return cells


BOTH = lungs(LEFT, RIGHT)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (spots((5, 2, 1)), "left"),
        (spots((5, 7, 1)), "right"),
        (spots((5, 2, 1), (5, 7, 1)), "both"),
        (spots((5, 2, 1), (4, 7, 0.9)), "both"),
        (spots((5, 2, 1), (5, 7, 0.2)), "left"),
        # a map that is dark, and one that lies mostly beside the lungs
        (spots(), None),
        (spots((0, 9, 1), (9, 0, 1), (5, 2, 0.5)), None),
    ],
)
def test_the_side_is_that_of_the_lung_with_most_of_the_map(cells, expected):
    assert side(cells, BOTH) == expected


@pytest.mark.parametrize(
    "mask",
    [
        None,
        lungs(),
        lungs(LEFT),
        lungs((slice(60, 240), slice(30, 270))),
        # one above the other: the picture lies on its side
        lungs((slice(30, 120), slice(60, 240)), (slice(180, 270), slice(60, 240))),
    ],
    ids=["no network", "none", "one", "joined", "rotated"],
)
def test_no_side_where_the_lungs_cannot_be_told_apart(mask):
    assert side(spots((5, 2, 1)), mask) is None


def test_specks_do_not_hide_the_lungs():
    assert side(spots((5, 2, 1)), lungs(LEFT, RIGHT, (slice(2, 8), slice(140, 150)))) == "left"


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, (10, 10), elements=st.floats(0, 1, width=32)))
def test_a_mirrored_picture_has_the_mirrored_side(cells):
    mirrored = {"left": "right", "right": "left", "both": "both", None: None}
    # the lungs are each other's mirror image, so nothing else changes
    assert side(cells[:, ::-1], BOTH) == mirrored[side(cells, BOTH)]


@pytest.mark.parametrize(("other", "expected"), [(0.30, "left"), (0.36, "both")])
def test_mainly_is_three_times_the_other(other, expected):
    assert MAINLY == 0.75
    assert side(spots((5, 2, 1), (5, 7, other)), BOTH) == expected


def test_a_score_without_a_map_stays_as_it_is():
    assert located(FINDINGS, [], BOTH) == FINDINGS
    far = dataclasses.replace(FINDINGS.scores[0], label="b")
    findings = dataclasses.replace(FINDINGS, scores=(*FINDINGS.scores, far))
    saliency = Saliency(head="h", label="a", cells=spots((5, 7, 1)), first_centre=(0.5, 0.5), pitch=0.1)
    assert [s.side for s in located(findings, [saliency], BOTH).scores] == ["right", None]


@pytest.mark.parametrize(
    ("alike", "side"), [(MOST_ALIKE, "left"), (MOST_ALIKE + 0.01, None), (None, None)], ids=str
)
def test_only_an_engine_whose_maps_were_shown_to_differ_tells_a_side(tmp_path, alike, side):
    folder = write_toy_bundle(tmp_path / "toy", size=224, lungs="squash-area")
    if alike is not None:
        with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            manifest.write(
                f'[maps]\nlabel = "covid19"\nalike = {alike}\nlow = 0\nhigh = 1\n'
                'films = "imagined films"\nimages = 20\npatients = 10\n'
            )
    chest = np.full((224, 224), 0.6, np.float32)
    chest[14:210, 14:105] = 0.45
    chest[14:210, 119:210] = 0.05
    findings = load_engine(load_bundle(folder), "cpu").analyse(chest).findings
    assert findings.principal.label == "covid19"
    assert findings.principal.side == side
