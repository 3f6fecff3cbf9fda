from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import score_tables as made

from training.corpus import CorpusError
from training.evaluation import Baseline, pool, read_table, write_table
from training.evaluation.document import identity


def part(table, rows):
    """Some rows of a table."""

    def cut(heads):
        return tuple(
            dataclasses.replace(h, probabilities=h.probabilities[rows], thresholds=h.thresholds[rows])
            for h in heads
        )

    return dataclasses.replace(
        table,
        cases=tuple(table.cases[i] for i in rows),
        heads=cut(table.heads),
        baselines=tuple(dataclasses.replace(b, heads=cut(b.heads)) for b in table.baselines),
    )


def assert_same(one, other):
    assert (one.models, one.manifests, one.cases) == (other.models, other.manifests, other.cases)
    assert [(b.name, b.cohort) for b in one.baselines] == [(b.name, b.cohort) for b in other.baselines]
    pairs = [(one.heads, other.heads)]
    pairs += [(a.heads, b.heads) for a, b in zip(one.baselines, other.baselines, strict=True)]
    for these, those in pairs:
        for a, b in zip(these, those, strict=True):
            assert (a.head, a.labels) == (b.head, b.labels)
            np.testing.assert_array_equal(a.probabilities, b.probabilities)
            np.testing.assert_array_equal(a.thresholds, b.thresholds)


def test_a_table_survives_being_written(tmp_path):
    table = made.judged_cohorts(films_of_each=3)
    aged = dataclasses.replace(table.cases[0], age=61.5, patient="pätient")
    table = dataclasses.replace(table, cases=(aged, *table.cases[1:]))
    write_table(table, tmp_path / "scores.npz")
    assert_same(read_table(tmp_path / "scores.npz"), table)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_without_scores_is_named(tmp_path, content):
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, weights=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"other\.npz is no table of scores"):
        read_table(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"none\.npz cannot be read"):
        read_table(tmp_path / "none.npz")


def test_parts_pooled_are_the_whole():
    table = made.judged_cohorts(films_of_each=5)
    count = len(table.cases)
    assert_same(pool([part(table, range(9)), part(table, range(9, count))]), table)


def test_pooled_thresholds_stay_with_their_films():
    table = made.judged_cohorts(films_of_each=2)
    other = part(table, [5])
    raised = dataclasses.replace(
        other, heads=tuple(dataclasses.replace(h, thresholds=h.thresholds + 0.2) for h in other.heads)
    )
    thresholds = pool([part(table, [0, 1]), raised]).heads[0].thresholds
    np.testing.assert_allclose(thresholds, [[0.5, 0.5], [0.5, 0.5], [0.7, 0.7]])


def test_a_film_in_two_tables_is_refused():
    table = made.judged_cohorts(films_of_each=2)
    with pytest.raises(CorpusError, match=r"1 films are in two of the score tables, the first is 1\.png"):
        pool([part(table, [0, 1]), part(table, [1, 2])])


def test_tables_of_different_heads_are_refused():
    table = made.judged_cohorts(films_of_each=2)
    with pytest.raises(CorpusError, match="different heads"):
        pool([part(table, [0]), dataclasses.replace(part(table, [1]), heads=table.heads[:1])])


def test_only_baselines_that_all_tables_have_are_pooled():
    table = made.judged_cohorts(films_of_each=2)
    one, two = part(table, [0, 1]), part(table, [2, 3])
    extra = Baseline(name="border", cohort="", heads=one.heads)
    pooled = pool([one.with_baselines([extra, *one.baselines]), two])
    assert [baseline.title for baseline in pooled.baselines] == ["size"]


def test_models_of_a_pool_are_named_together():
    models = [dataclasses.replace(made.MODEL, digest=d * 64) for d in "ab"]
    named = identity(models)
    assert named["name"] == "made-up"
    assert named["version"] == "2 models pooled"
    assert named["digest"] != identity(models[::-1])["digest"]
