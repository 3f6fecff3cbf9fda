from __future__ import annotations

import numpy as np
import pytest
from packed_films import packed_films

from training.corpus import CorpusError, read_corpus
from training.packed import SIDE, pack, read_packed, write_packed
from training.splits import SPLITS
from training.views import whole_view

TEXTS = ("files", "patients", "labels", "sources", "splits", "cohorts")


def test_what_is_written_is_read(tmp_path):
    films = packed_films()
    write_packed(films, tmp_path / "films.npz")
    again = read_packed(tmp_path / "films.npz")
    assert len(again) == len(films) == 72
    for name in ("views", *TEXTS):
        np.testing.assert_array_equal(getattr(again, name), getattr(films, name))


def test_splits_part_the_films():
    films = packed_films()
    parts = [films.split(name) for name in SPLITS]
    assert sorted(file for part in parts for file in part.files) == sorted(films.files)
    for name, part in zip(SPLITS, parts, strict=True):
        assert set(part.splits) == {name}
        for number, file in enumerate(part.files):
            (row,) = np.flatnonzero(films.files == file)
            np.testing.assert_array_equal(part.views[number], films.views[row])
            assert part.labels[number] == films.labels[row]
    assert len(films.split("val", "test")) == len(parts[1]) + len(parts[2])
    assert len(films.split("none")) == 0


def test_a_corpus_is_packed_film_by_film_in_its_order(corpus):
    films = read_corpus(corpus)[:5]
    packed = pack(films, lambda picture: whole_view(picture, np.zeros(picture.shape, np.bool_), SIDE))
    assert packed.views.shape == (5, SIDE, SIDE, 3)
    assert packed.views.dtype == np.uint8
    assert packed.files.tolist() == [film.file for film in films]
    assert packed.patients.tolist() == [film.patient for film in films]
    for view, film in zip(packed.views, films, strict=True):
        assert view[..., 0].mean() / 255 == pytest.approx(film.p_values().mean(), abs=0.01)
        assert (view[..., 1] == 255).all()
        assert (view[..., 2] == 0).all()


@pytest.mark.parametrize("kind", ["missing", "text", "other arrays", "one array", "pickled", "cut off"])
def test_what_is_no_packed_corpus_is_told(tmp_path, kind):
    path = tmp_path / "films.npz"
    if kind == "text":
        path.write_text("films")
    elif kind == "other arrays":
        np.savez(path, weights=np.zeros(3))
    elif kind == "one array":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif kind == "pickled":
        np.savez(path, views=np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "cut off":
        write_packed(packed_films(), path)
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorpusError, match="cxr-train pack"):
        read_packed(path)
