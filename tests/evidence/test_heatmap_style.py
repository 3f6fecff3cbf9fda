"""The heatmap as a site wants it: size, lossless encoding, and a second picture without text."""

from __future__ import annotations

import dataclasses
import subprocess

import numpy as np
import pytest
from optional_objects import blob, dcentvfy, dciodvfy, part10
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from radiographs import synthetic_chest

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import (
    HeatmapPicture,
    HeatmapStyle,
    ReportedStudy,
    check,
    heatmap,
    heatmap_without_text,
    is_own_output,
    key_objects,
    report,
)
from cxr_pacs.evidence.picture import overlay

SYNTAXES = {"native": ExplicitVRLittleEndian, "rle": RLELossless, "jpeg-ls": JPEGLSLossless}
SIZES, ENCODINGS = ("1024", "source"), tuple(SYNTAXES)
MAKERS = (heatmap, heatmap_without_text)
SHAPE = (1301, 1101)
PIXELS, SALIENCY = synthetic_chest(*SHAPE, 0), blob(*SHAPE)


@pytest.fixture
def instance(read):
    return read(picture=PIXELS)


@pytest.fixture
def draw(instance, stamp):
    def drawn(make=heatmap, of=None, **style):
        shown = instance.findings.principal
        picture = HeatmapPicture(pixels=PIXELS, saliency=SALIENCY, shown=shown)
        return make(of or instance, picture, stamp, HeatmapStyle(**style))

    return drawn


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", SIZES)
def test_every_encoding_keeps_every_pixel_and_is_conformant(draw, read_back, tmp_path, make, size):
    native = draw(make, size=size).pixel_array
    for encoding, syntax in SYNTAXES.items():
        made = draw(make, size=size, encoding=encoding)
        assert made.file_meta.TransferSyntaxUID == syntax
        assert check(made) == ()
        assert dciodvfy(made, tmp_path) == []
        assert part10(made) == part10(draw(make, size=size, encoding=encoding))
        written = read_back(made)
        assert (written.PhotometricInterpretation, written.LossyImageCompression) == ("RGB", "00")
        np.testing.assert_array_equal(written.pixel_array, native)


@pytest.mark.parametrize(("encoding", "program"), [("rle", "dcmdrle"), ("jpeg-ls", "dcmdjpls")])
def test_dcmtk_decodes_the_same_picture(draw, tmp_path, encoding, program):
    (tmp_path / "encoded.dcm").write_bytes(part10(draw(encoding=encoding)))
    subprocess.run([program, tmp_path / "encoded.dcm", tmp_path / "native.dcm"], check=True)
    np.testing.assert_array_equal(dcmread(tmp_path / "native.dcm").pixel_array, draw().pixel_array)


def test_jpeg_ls_is_the_smallest(draw):
    sizes = {encoding: len(draw(encoding=encoding).PixelData) for encoding in ENCODINGS}
    assert sizes["jpeg-ls"] < sizes["native"] / 2


def test_the_usual_style_is_the_one_of_before(draw, instance, stamp):
    picture = HeatmapPicture(pixels=PIXELS, saliency=SALIENCY, shown=instance.findings.principal)
    assert part10(draw()) == part10(heatmap(instance, picture, stamp))
    assert max(draw().Rows, draw().Columns) == 1024
    assert "resampled" in draw().DerivationDescription


@pytest.mark.parametrize("make", MAKERS)
def test_at_the_sources_size_each_pixel_has_its_place(draw, make):
    made = draw(make, size="source")
    rows, columns = SHAPE
    assert made.Columns == columns
    np.testing.assert_array_equal(made.pixel_array[:rows], overlay(PIXELS, SALIENCY))
    assert made.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    assert "pixel by pixel" in made.DerivationDescription
    # words below, or none
    assert made.Rows == rows if make is heatmap_without_text else made.Rows > rows + 100


NO_SPACING = {"ImagerPixelSpacing": None, "PixelSpacing": None}
SPACINGS = [
    ({"ImagerPixelSpacing": [0.14, 0.15], "PixelSpacing": None}, "PixelSpacing", [0.14, 0.15]),
    ({"ImagerPixelSpacing": [0.14, 0.15], "PixelSpacing": [0.13, 0.13]}, "PixelSpacing", [0.13, 0.13]),
    (
        NO_SPACING | {"NominalScannedPixelSpacing": [0.2, 0.2]},
        "NominalScannedPixelSpacing",
        [0.2, 0.2],
    ),
    (NO_SPACING | {"PixelAspectRatio": [2, 1]}, "PixelAspectRatio", [2, 1]),
    (NO_SPACING, None, None),
    ({"ImagerPixelSpacing": "", "PixelSpacing": [0, 0]}, None, None),
]
KEYWORDS = {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"}


@pytest.mark.parametrize(("tags", "keyword", "value"), SPACINGS)
def test_the_spacing_is_kept_as_the_source_says_it(draw, read, tmp_path, tags, keyword, value):
    made = draw(of=read(picture=PIXELS, **tags), size="source")
    assert KEYWORDS & set(made.dir()) == ({keyword} if keyword else set())
    if keyword:
        assert [float(number) for number in made[keyword].value] == value
    assert check(made) == ()
    assert dciodvfy(made, tmp_path) == []


@pytest.mark.parametrize("make", MAKERS)
def test_a_resampled_picture_has_no_spacing(draw, make):
    made = draw(make)
    assert not KEYWORDS & set(made.dir())
    assert "SpatialLocationsPreserved" not in made.SourceImageSequence[0]
    made.PixelSpacing = [1, 1]
    assert check(made) == ("a resampled picture must not carry a spacing",)


def test_the_sources_size_needs_the_sources_pixels(draw, instance, read):
    other = dataclasses.replace(instance, header=read(picture=synthetic_chest(64, 64, 0)).header)
    with pytest.raises(EvidenceError, match=r"needs its \(64, 64\) pixels, not \(1301, 1101\)"):
        draw(of=other, size="source")


def test_a_narrow_source_stands_at_the_upper_left(read, stamp):
    pixels, saliency = synthetic_chest(200, 100, 0), blob(200, 100)
    narrow = read(picture=pixels)
    picture = HeatmapPicture(pixels=pixels, saliency=saliency, shown=narrow.findings.principal)
    made = heatmap(narrow, picture, stamp, HeatmapStyle(size="source"))
    assert made.Columns == 512
    np.testing.assert_array_equal(made.pixel_array[:200, :100], overlay(pixels, saliency))
    assert not made.pixel_array[:200, 100:].any()


def test_the_second_picture_has_no_text_and_an_identity_of_its_own(draw, instance, stamp, tmp_path):
    first, second = draw(), draw(heatmap_without_text)
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    assert second.InstanceNumber == first.InstanceNumber + 10_000
    assert is_own_output(second)
    assert "AI-derived, not a diagnosis" in second.DerivationDescription
    assert max(second.Rows, second.Columns) == 1024
    # no caption: neither a black strip nor amber
    assert abs(second.Columns / second.Rows - SHAPE[1] / SHAPE[0]) < 0.002
    assert not (np.abs(second.pixel_array.astype(int) - (255, 190, 60)).max(axis=2) < 8).any()
    document = report([instance], [first, second], (), stamp)
    study = ReportedStudy(instances=(instance,), heatmaps=(first, second), document=document)
    made = [first, second, document, key_objects(study, (), stamp)]
    assert [check(one) for one in made] == [()] * 4
    assert dcentvfy([instance.header, *made], tmp_path) == []


def test_an_instance_number_stays_in_its_range(draw, read):
    late = read(picture=PIXELS, InstanceNumber=(1 << 31) - 5)
    assert draw(heatmap_without_text, of=late).InstanceNumber == (1 << 31) - 1


@pytest.mark.parametrize("encoding", ["rle", "jpeg-ls"])
def test_check_finds_pixel_data_that_cannot_be_decoded(draw, encoding):
    problem = ("the pixel data does not have the size that rows and columns tell",)
    made = draw(encoding=encoding)
    made.PixelData = made.PixelData[:40]
    assert check(made) == problem
    made = draw(encoding=encoding)
    made.Rows = made.Rows + 5
    assert check(made) == problem
    made = draw(encoding=encoding)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert check(made) == problem


def test_an_encoder_that_fails_makes_no_object(draw, monkeypatch):
    def unable(*_, **__):
        raise RuntimeError("no such plug-in")

    monkeypatch.setattr(Dataset, "compress", unable)
    with pytest.raises(EvidenceError, match="cannot be encoded as rle: RuntimeError"):
        draw(encoding="rle")
