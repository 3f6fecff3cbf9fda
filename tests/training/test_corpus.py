from __future__ import annotations

import csv
import shutil

import cv2
import numpy as np
import pytest
from brightness_corpus import COLUMNS, write_manifest
from hypothesis import given
from hypothesis import strategies as st
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.radiograph import read_radiograph
from training.corpus import CorpusError, read_corpus, scan
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


@pytest.fixture(scope="module")
def one_film(tmp_path_factory):
    """A function that changes the row of a corpus of one film, whose image can be given, and reads it."""
    folder = tmp_path_factory.mktemp("one")
    cv2.imwrite(str(folder / "0.png"), np.zeros((4, 4), np.uint8))
    (folder / "0.dcm").write_bytes(b"no DICOM")
    plain = dict(
        zip(COLUMNS, ["0.png", "p", "normal", "PA", "", "", "here", "none", "train", "adult"], strict=True)
    )

    def read(change, png=None, dicom=None):
        row = dict(plain)
        change(row)
        if png is not None:
            cv2.imwrite(str(folder / row["file"]), png)
        if dicom is not None:
            dicom.save_as(folder / row["file"])
        write_manifest(folder, [row])
        (film,) = read_corpus(folder)
        return film

    return read


def unchanged(rows):
    """The manifest stays as it is."""


def test_films_are_as_the_manifest_says(corpus):
    films = read_corpus(corpus)
    assert len(films) == 72
    assert films[1].label == "bacterial_pneumonia"
    assert films[1].pixels.dtype == np.uint8
    assert (films[0].view, films[0].age, films[0].sex) == ("PA", 30.0, "F")
    assert films[3].age is None
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
        ("age", "034Y", "line 2: age '034Y' is no number of years from 0 to 120"),
        ("age", "nan", "line 2: age 'nan' is no number"),
        ("age", "130", "line 2: age '130' is no number"),
        ("file", "", "line 2: file is empty"),
        ("file", "../0.png", r"line 2: file \.\./0\.png leaves the manifest's folder"),
        ("file", "a/../../0.png", "leaves the manifest's folder"),
        ("file", "/0.png", "line 2: file /0.png leaves the manifest's folder"),
        ("file", ".", r"line 2: image \. is missing or cannot be read \(Is a directory\)"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(changeable, column, value, problem):
    with pytest.raises(CorpusError, match=problem):
        read_corpus(changeable(lambda rows: rows[0].update({column: value})))


def test_a_message_names_no_patient(changeable):
    def spoil(rows):
        for row in rows:
            row.update(patient_id="Doe^Jane", age="old", label="covid19")

    found = scan(changeable(spoil))
    assert [problem.line for problem in found.problems] == list(range(2, 74))
    assert not any("Doe" in problem.text for problem in found.problems)


def test_all_problems_are_collected_and_the_rest_is_read(changeable):
    folder = changeable(lambda rows: (rows[4].update(label="viral"), rows[1].update(age="-1")))
    (folder / "9.png").write_bytes(b"")
    found = scan(folder)
    assert [problem.line for problem in found.problems] == [3, 6, 11]
    assert len(found.films) == 69
    assert found.lines[:3] == (2, 4, 5)
    with pytest.raises(CorpusError, match=r"manifest\.csv, line 3: age.*\(2 more lines have problems"):
        read_corpus(folder)


def test_a_manifest_may_have_any_name_and_other_labels(changeable):
    folder = changeable(lambda rows: [row.update(label="pneumonia_unspecified") for row in rows])
    other = (folder / "manifest.csv").rename(folder / "manifest_aux.csv")
    assert len(read_corpus(other, ["pneumonia_unspecified"])) == 72


def test_a_spreadsheet_s_byte_order_mark_and_cells_of_several_lines_are_read(changeable):
    folder = changeable(lambda rows: (rows[0].update(source="a\nb"), rows[1].update(label="viral")))
    manifest = folder / "manifest.csv"
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())
    with pytest.raises(CorpusError, match="line 4: label 'viral'"):
        read_corpus(manifest)


@pytest.mark.parametrize(
    ("written", "problem"),
    [(b"\xff\xfe\x00", "is not CSV in UTF-8"), (",".join(COLUMNS).encode(), "names no image")],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, written, problem):
    (tmp_path / "manifest.csv").write_bytes(written)
    with pytest.raises(CorpusError, match=problem):
        read_corpus(tmp_path)


@given(st.floats(0, 120))
def test_every_age_of_a_person_is_kept(one_film, age):
    assert one_film(lambda row: row.update(age=repr(age))).age == age


def test_images_of_eight_and_sixteen_bit_give_the_same_p_values(one_film):
    shown = np.random.default_rng(3).integers(0, 256, (40, 30)).astype(np.uint8)
    colour = cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)
    for picture, dtype in (
        (shown, np.uint8),
        (shown.astype(np.uint16) * 257, np.float32),
        (colour, np.uint8),
    ):
        film = one_film(lambda row: row.update(file="new.png"), png=picture)
        assert film.pixels.dtype == dtype
        assert film.p_values().dtype == np.float32
        np.testing.assert_allclose(film.p_values(), shown / np.float32(255), atol=1e-6)


@pytest.mark.parametrize("name", ["film.dcm", "IM0001"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_is_rendered_as_in_serving(one_film, name, photometric):
    dataset = make_radiograph(picture=synthetic_chest(64, 48, 2), photometric=photometric)
    film = one_film(lambda row: row.update(file=name), dicom=dataset)
    np.testing.assert_array_equal(film.p_values(), read_radiograph(dataset).pixels)


def test_dicom_is_cut_to_its_valid_part(one_film):
    dataset = make_radiograph(
        picture=synthetic_chest(64, 48, 2),
        ShutterShape="RECTANGULAR",
        ShutterLeftVerticalEdge=5,
        ShutterRightVerticalEdge=44,
        ShutterUpperHorizontalEdge=9,
        ShutterLowerHorizontalEdge=60,
    )
    film = one_film(lambda row: row.update(file="film.dcm"), dicom=dataset)
    whole = read_radiograph(dataset)
    rows, columns = np.nonzero(whole.valid)
    assert film.pixels.shape < whole.pixels.shape
    np.testing.assert_array_equal(
        film.p_values(), whole.pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    )


def test_dicom_that_cannot_be_read_is_named(one_film):
    with pytest.raises(CorpusError, match=r"line 2: film\.dcm cannot be rendered: "):
        one_film(lambda row: row.update(file="film.dcm"), dicom=make_radiograph(PixelData=None))
    with pytest.raises(CorpusError, match=r"line 2: 0\.dcm is no readable DICOM file"):
        one_film(lambda row: row.update(file="0.dcm"))


def test_a_patient_in_two_splits_is_refused(changeable):
    films = read_corpus(changeable(lambda rows: rows[0].update(split="test")))
    said = r"1 patients are in several splits, the first film of one is 0\.png"
    with pytest.raises(CorpusError, match=said) as refused:
        split_by_patient(films)
    assert films[0].patient not in str(refused.value), "no patient's identity leaves the corpus"


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
    weights = group_weights([film.label for film in mixed], [film.source for film in mixed])
    assert weights.sum() == pytest.approx(1)
    sums = {}
    for film, weight in zip(mixed, weights, strict=True):
        key = (film.label, film.source)
        sums[key] = sums.get(key, 0) + weight
    full = max(sums.values())
    members = {key: sum((f.label, f.source) == key for f in mixed) for key in sums}
    for key, weight in sums.items():
        assert weight == pytest.approx(full * min(1, members[key] / 20))
