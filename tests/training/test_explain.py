from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_engines import LABELS, ReadingEngine, border_part, films, lung_mask, lungs_part
from rich.console import Console

from cxr_pacs.inference import ClassScore, Saliency
from cxr_pacs.inference.lung_fields import lung_fields
from training.contact_sheet import contact_sheet
from training.corpus import CorpusError
from training.evaluation import Case
from training.explain import explain
from training.explain_document import document, notes, tables
from training.explain_metrics import explanation_metrics
from training.judged import spread_evenly
from training.map_shares import FilmMap, map_rows, measure_map
from training.occlusion import View, fields_over
from training.reader import Reader

SHOWN = ClassScore(head="multiclass", label="normal", score=0.9, threshold=0.5)


def reader(part, **options):
    engine = ReadingEngine(part, **options)
    return Reader(engine=engine, segmenter=engine)


def met(explanation):
    return {criterion.name: criterion.met for criterion in explanation.criteria}


@pytest.fixture(scope="module")
def lungs_read():
    return explain(reader(lungs_part), films())


@pytest.fixture(scope="module")
def border_read():
    return explain(reader(border_part), films())


def test_who_reads_only_lungs_loses_all_without_them_and_nothing_with_them_alone(lungs_read):
    views = lungs_read.views
    assert views[View.WHOLE].evaluation.rows["all"].heads["multiclass"].figures["accuracy", ""].value == 1
    for blanked, only in ((View.BLANKED, View.ONLY), (View.BLANKED_HELD, View.ONLY_HELD)):
        assert views[blanked].kept["all"].value == pytest.approx(0, abs=0.01)
        assert views[only].kept["all"].value == 1
    assert lungs_read.maps["all"].shares["lungs"].median.value > 0.8
    assert len(met(lungs_read)) == 3
    assert all(met(lungs_read).values())


def test_who_reads_only_the_border_loses_nothing_without_lungs_and_all_with_them_alone(border_read):
    for blanked, only in ((View.BLANKED, View.ONLY), (View.BLANKED_HELD, View.ONLY_HELD)):
        assert border_read.views[blanked].kept["all"].value == 1
        assert border_read.views[only].kept["all"].value == pytest.approx(0, abs=0.01)
    assert border_read.maps["all"].shares["lungs"].median.value < 0.05
    assert not any(met(border_read).values())


def test_a_source_that_shows_both_classes_is_judged_by_its_auroc():
    found = explain(reader(border_part), [film for film in films(140) if film.label != "normal"])
    assert not [name for name in met(found) if "AUROC" in name], "fewer than 30 of a class in each source"
    larger = explain(reader(border_part), [film for film in films(360) if film.label != "normal"])
    asked = {name: verdict for name, verdict in met(larger).items() if "AUROC" in name}
    assert asked == {
        f"lungs blanked: AUROC of {label} within {source}": False
        for label in ("covid19", "bacterial pneumonia")
        for source in ("here", "there")
    }


def test_a_reader_of_the_whole_picture_is_told_no_fields():
    one = reader(lungs_part, preprocessing="squash-area-64")
    found = explain(one, films(18))
    assert set(found.views) == {View.WHOLE, View.BLANKED, View.ONLY}
    assert one.engine.told == 0


def test_where_the_lungs_are_hidden_segmentation_finds_none(lungs_read):
    assert lungs_read.views[View.WHOLE].without_lungs == 0
    assert lungs_read.views[View.BLANKED].without_lungs == 90
    assert lungs_read.views[View.BLANKED_HELD].without_lungs == 0
    assert any("finds no lungs in 90 films" in note for note in notes(lungs_read))


def test_what_is_left_is_compared_on_the_same_resamples(lungs_read):
    """Compared with itself the whole keeps all, in every resample."""
    kept = lungs_read.views[View.WHOLE].kept["all"]
    assert (kept.value, kept.low, kept.high) == (1, 1, 1)


def test_without_a_lung_network_another_bundles_is_asked_for():
    blind = ReadingEngine(lungs_part, lungs=False, preprocessing="squash-area-64")
    with pytest.raises(CorpusError, match=r"no lung network.*--lungs"):
        explain(Reader(engine=blind, segmenter=blind), films(6))
    lent = explain(Reader(engine=blind, segmenter=ReadingEngine(border_part)), films(18))
    assert lent.maps["all"].shares["lungs"].median.value > 0.8


def test_films_without_lungs_are_left_out_and_counted():
    dark, *others = films(18)
    hidden = np.where(lung_mask(dark.pixels.shape), np.float32(0.5), dark.pixels)
    dark.pixels[...] = hidden
    found = explain(reader(lungs_part), [dark, *others])
    assert found.left_out == 1
    assert (found.maps["all"].films, found.maps["all"].measured) == (18, 17)
    assert found.views[View.WHOLE].evaluation.rows["all"].films.size == 17
    assert any("In 1 films no lungs were found" in note for note in notes(found))
    with pytest.raises(CorpusError, match="no lungs were found"):
        explain(reader(lungs_part), [dark])


def test_the_document_is_json_of_a_stable_shape(lungs_read):
    found = json.loads(json.dumps(document(lungs_read), allow_nan=False))
    assert set(found) == {
        "model", "manifest", "manifests", "interval", "head", "fill", "notes", "maps", "maps_alike", "views",
        "films_left_out", "criteria",
    }  # fmt: skip
    assert set(found["views"]) == {view.value for view in View}
    row = found["views"]["lungs_blanked"]["rows"]["source=here"]
    assert set(row) == {
        "n", "patients", "accuracy", "balanced_accuracy", "kept", "sensitivity", "auroc",
    }  # fmt: skip
    assert set(row["auroc"]) == set(LABELS)
    assert set(found["maps"]["class=covid19, source=here"]["lungs"]) == {"median", "quartiles"}
    assert [entry["met"] for entry in found["criteria"]] == [True, True, True]
    assert "secret" not in json.dumps(found)


def test_the_tables_show_what_the_document_says(border_read):
    stream = io.StringIO()
    for table in tables(border_read):
        Console(file=stream, width=200).print(table)
    printed = stream.getvalue()
    assert printed.count("missed") == 3
    assert "lungs blanked" in printed
    assert f"{border_read.maps['all'].shares['lungs'].median.value:.3f}" in printed


def test_a_bundle_can_state_the_figures(lungs_read):
    stated = explanation_metrics(lungs_read, "test")
    named = {(metric.films, metric.name): metric.value for metric in stated}
    assert len(named) == len(stated)
    assert named["test", "median share of the activation map in the lungs"] > 0.8
    assert named["test, lungs only", "balanced accuracy"] == 1
    assert named["test, lungs blanked", "balanced accuracy"] == pytest.approx(1 / 3, abs=0.01)
    assert named["test, lungs blanked, here", "AUROC of normal"] == pytest.approx(0.5, abs=0.1)
    assert not [films for films, _ in named if "held" in films], "they say nothing of the network"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(48, 64), (64, 48), (70, 70)]))
def test_a_map_that_lies_in_the_lungs_is_whole_in_them(seed, shape):
    """With a cell for each pixel, so that none lies across a border."""
    rng = np.random.default_rng(seed)
    lungs = rng.random((32, 32)) < 0.4
    lungs[5, 5] = True
    cells = rng.uniform(0.1, 1, lungs.shape).astype(np.float32)
    fields = np.ones_like(lungs)
    film = FilmMap(case=None, shown=SHOWN)

    def measured(weights):
        saliency = Saliency(
            head="multiclass", label="normal", cells=weights, first_centre=(0.5, 0.5), pitch=1 / 32
        )
        return measure_map(film, saliency, lungs, fields)

    inside = measured(np.where(lungs, cells, 0))
    assert inside.lungs == pytest.approx(1)
    assert inside.fields == pytest.approx(1)
    assert measured(np.where(lungs, 0, cells)).lungs == pytest.approx(0)
    even = measured(np.ones_like(cells))
    assert even.lungs == pytest.approx(even.even_seen)
    assert even.even_seen == pytest.approx(even.even_picture) == pytest.approx(lungs.mean())
    assert measured(np.zeros_like(cells)).lungs is None


def test_an_even_map_is_even_over_the_part_that_was_seen():
    mask = lung_mask()
    fields = lung_fields(mask)
    film = FilmMap(case=None, shown=SHOWN)
    cells = np.ones((3, 3), np.float32)
    even = Saliency(
        head="multiclass", label="normal", cells=cells, first_centre=(0.5, 0.5), pitch=1 / 3, box=fields.box
    )
    found = measure_map(film, even, mask, fields_over(fields, mask.shape))
    assert found.lungs == pytest.approx(found.even_seen)
    assert found.even_picture < found.even_seen < found.even_fields


def test_medians_stand_beside_their_quartiles_and_intervals():
    maps = []
    for number in range(101):
        case = Case(
            file=str(number), patient=str(number), label="normal", source="here", cohort="", view="", age=None
        )
        share = number / 100
        even = {"fields": 1.0, "even_fields": 0.5, "even_seen": 0.25, "even_picture": 0.125}
        maps.append(FilmMap(case=case, shown=SHOWN, lungs=share, **even))
    row = map_rows(maps)["class=normal, source=here"]
    found = row.shares["lungs"]
    assert (found.lower, found.median.value, found.upper) == pytest.approx((0.25, 0.5, 0.75))
    # The median of n even draws has a standard error of 1 / (2 sqrt(n)).
    assert found.median.low == pytest.approx(0.5 - 1.96 / 2 / 101**0.5, abs=0.03)
    assert found.median.high == pytest.approx(0.5 + 1.96 / 2 / 101**0.5, abs=0.03)
    assert row.shares["even_seen"].median.low == row.shares["even_seen"].median.high == 0.25


def test_few_films_are_taken_from_every_class_and_source_and_from_many_patients():
    some = spread_evenly(films(90), 12)
    assert len({(film.label, film.source) for film in some}) == 6
    assert len(some) == len({film.patient for film in some}) == 12
    assert len(spread_evenly(films(10), 50)) == 10


def test_the_sheet_shows_map_and_lungs(lungs_read):
    chosen = films(18)
    sheet = contact_sheet(reader(lungs_part), chosen, columns=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    rows = len({(film.label, film.source) for film in chosen})
    assert rows == 6
    assert sheet.shape[0] > rows * 200
    assert (sheet == (90, 220, 255)).all(axis=2).sum() > 12 * 300, "the outlines of twelve pairs of lungs"
    wider = contact_sheet(reader(lungs_part), chosen, columns=4)
    assert wider.shape[0] == sheet.shape[0]
    assert wider.shape[1] > sheet.shape[1]
