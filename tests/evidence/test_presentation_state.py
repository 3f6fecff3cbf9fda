"""Outline and words over the original, and a display that stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional_objects import blob, dciodvfy, picture_of
from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForProcessing
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import ReadInstance, check, presentation_state
from cxr_pacs.evidence.presentation_state import outlines


@pytest.fixture
def state(read, stamp):
    def make(**tags):
        instance = read(**tags)
        return presentation_state(instance, picture_of(instance), stamp)

    return make


def table(entries, *, first=0, bits=12, explanation="of Example^Patient"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.LUTExplanation = explanation
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


@given(
    row=st.floats(-0.2, 1.2),
    column=st.floats(-0.2, 1.2),
    rows=st.integers(3, 60),
    columns=st.integers(3, 60),
)
@settings(max_examples=100, deadline=None)
def test_outlines_are_closed_inside_the_picture_and_at_half(row, column, rows, columns):
    saliency = blob(rows, columns, row=row, column=column)
    top = saliency.max()
    for line in outlines(saliency):
        assert line.dtype == np.float32
        assert (line[0] == line[-1]).all()
        assert (line > 0).all()
        assert (line < [columns, rows]).all()
        cells = np.floor(line).astype(int)
        assert (saliency[cells[:, 1], cells[:, 0]] >= top / 2).all()


def test_an_outline_encloses_exactly_what_is_above_half():
    saliency = np.zeros((40, 50), np.float32)
    saliency[10:20, 5:30] = 0.4
    saliency[12:15, 10:15] = 0.2
    saliency[30:, 40:] = 0.19
    (line,) = outlines(saliency)
    assert line[:, 0].min() == 5.5
    assert line[:, 0].max() == 29.5
    assert line[:, 1].min() == 10.5
    assert line[:, 1].max() == 19.5
    assert len(line) == 5


def test_a_hole_and_a_second_region_have_lines_of_their_own():
    saliency = np.zeros((40, 50), np.float32)
    saliency[2:20, 2:20] = 1
    saliency[8:14, 8:14] = 0
    saliency[30:38, 30:48] = 0.6
    assert len(outlines(saliency)) == 3


def test_a_line_has_no_more_points_than_an_element_holds(findings, stamp, read_back):
    header = make_radiograph(picture=synthetic_chest(400, 6000, 0))
    comb = np.zeros((400, 6000), np.float32)
    comb[200:300, 2:-2] = 1
    for column in range(4, 5990, 4):
        comb[100 + column % 7 : 200, column : column + 2] = 1
    instance = ReadInstance(header=header, findings=findings)
    made = presentation_state(instance, picture_of(instance, saliency=comb), stamp)
    (line,) = read_back(made).GraphicAnnotationSequence[0].GraphicObjectSequence
    assert len(line.GraphicData) == 2 * line.NumberOfGraphicPoints <= 2 * 4096
    assert check(made) == ()


def test_a_smooth_line_takes_few_points():
    (line,) = outlines(blob(2500, 2000))
    assert len(line) < 300


def test_a_dark_map_has_words_and_no_outline(read, stamp):
    instance = read()
    dark = picture_of(instance, saliency=np.zeros((512, 448), np.float32))
    made = presentation_state(instance, dark, stamp)
    (annotation,) = made.GraphicAnnotationSequence
    assert "GraphicObjectSequence" not in annotation
    assert "No region of this image argues" in annotation.TextObjectSequence[0].UnformattedTextValue
    assert check(made) == ()


def test_the_words_say_what_it_is_and_nobodys_name(state, model):
    made = state()
    (annotation,) = made.GraphicAnnotationSequence
    (text,) = annotation.TextObjectSequence
    assert text.UnformattedTextValue.splitlines() == [
        "AI-derived, not a diagnosis",
        "COVID-19: certainty 81.2 %, threshold 42.0 % reached",
        "Outline: half of the strongest contribution to this class, not a lesion",
        f"{model.name} {model.version}. {model.intended_use}",
    ]
    (line,) = annotation.GraphicObjectSequence
    assert (line.GraphicType, line.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    assert line.NumberOfGraphicPoints * 2 == len(line.GraphicData)
    points = np.asarray(line.GraphicData).reshape(-1, 2)
    assert points.mean(axis=0) == pytest.approx([0.3 * 448, 0.6 * 512], abs=12)


def test_it_refers_to_its_source_and_shows_it_whole(read, stamp):
    instance = read()
    made = presentation_state(instance, picture_of(instance, aspect=0.5), stamp)
    (series,) = made.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert series.SeriesInstanceUID == instance.header.SeriesInstanceUID
    assert image.ReferencedSOPInstanceUID == instance.header.SOPInstanceUID
    (area,) = made.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [448, 512]
    assert list(area.PresentationPixelAspectRatio) == [1, 2]


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_polarity_is_said_anew_since_a_presentation_state_forgets_it(state, photometric, shape):
    assert state(photometric=photometric).PresentationLUTShape == shape
    # where shape and Photometric Interpretation contradict each other, the latter is right
    against = {"INVERSE": "IDENTITY", "IDENTITY": "INVERSE"}[shape]
    assert state(photometric=photometric, PresentationLUTShape=against).PresentationLUTShape == shape


def test_the_first_window_and_the_rescale_are_kept(state):
    made = state(
        WindowCenter=[600, 1],
        WindowWidth=[900.5, 1],
        VOILUTFunction="SIGMOID",
        RescaleSlope=2,
        RescaleIntercept=-5,
    )
    (voi,) = made.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (600, 900.5, "SIGMOID")
    assert (made.RescaleSlope, made.RescaleIntercept, made.RescaleType) == (2, -5, "US")


@pytest.mark.parametrize(("centre", "width"), [("", 5), (5, ""), (5, 0), (5, 0.5), (5, -2)])
def test_a_window_that_is_none_is_left_out(state, centre, width):
    assert "SoftcopyVOILUTSequence" not in state(WindowCenter=centre, WindowWidth=width)


def test_a_look_up_table_comes_before_a_window_and_without_its_words(state, tmp_path):
    made = state(VOILUTSequence=[table(range(0, 4096, 2))])
    (voi,) = made.SoftcopyVOILUTSequence
    assert "WindowCenter" not in voi
    (lut,) = voi.VOILUTSequence
    assert list(lut.LUTDescriptor) == [2048, 0, 16]
    shares = np.frombuffer(lut.LUTData, "<u2") / 65535
    assert shares == pytest.approx(np.arange(0, 4096, 2) / 4095, abs=1e-5)
    assert "Example" not in made.SoftcopyVOILUTSequence[0].to_json()
    assert check(made) == ()
    assert dciodvfy(made, tmp_path) == []


def test_signed_tables_and_modality_tables(state, tmp_path):
    lut = table(range(1024), first=-512)
    lut.ModalityLUTType = "OD"
    made = state(ModalityLUTSequence=[lut], VOILUTSequence=[table(range(4096), first=-10)])
    assert list(made.ModalityLUTSequence[0].LUTDescriptor) == [1024, -512, 16]
    assert np.frombuffer(made.ModalityLUTSequence[0].LUTData, "<u2").tolist() == list(range(1024))
    assert made.ModalityLUTSequence[0].ModalityLUTType == "OD"
    assert list(made.SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTDescriptor) == [4096, -10, 16]
    assert "RescaleSlope" not in made
    assert check(made) == ()
    # the table is the source's, and its values are not ours to change
    complaints = dciodvfy(made, tmp_path)
    assert all("LookupTableData bad - Modality LUT" in line for line in complaints)


def test_a_modality_table_without_a_window_is_shown_over_its_own_range(state):
    made = state(ModalityLUTSequence=[table(range(100, 1100))], WindowCenter=None, WindowWidth=None)
    (voi,) = made.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (599.5, 999, "LINEAR_EXACT")


def test_tables_of_8_bit_entries_and_of_65536(state, tmp_path):
    narrow = table(range(256), bits=8)
    narrow.LUTData = bytes(range(256))
    made = state(VOILUTSequence=[narrow])
    lut = made.SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    assert np.frombuffer(lut.LUTData, "<u2").tolist() == [257 * n for n in range(256)]
    assert dciodvfy(made, tmp_path) == []
    wide = table(range(4))
    wide.LUTDescriptor = [0, 0, 16]
    wide.LUTData = np.arange(65536, dtype="<u2").tobytes()
    made = state(VOILUTSequence=[wide])
    assert made.SoftcopyVOILUTSequence[0].VOILUTSequence[0].LUTDescriptor[0] == 0
    assert dciodvfy(made, tmp_path) == []


def test_a_table_that_contradicts_itself_gives_way_to_the_window(state):
    broken = table(range(100))
    broken.LUTDescriptor = [4000, 0, 12]
    made = state(VOILUTSequence=[broken])
    assert "VOILUTSequence" not in made.SoftcopyVOILUTSequence[0]
    assert made.SoftcopyVOILUTSequence[0].WindowWidth == 4096


def test_a_shutter_stays_shut(state, tmp_path):
    made = state(
        ShutterShape=["RECTANGULAR", "CIRCULAR"],
        ShutterLeftVerticalEdge=10,
        ShutterRightVerticalEdge=400,
        ShutterUpperHorizontalEdge=20,
        ShutterLowerHorizontalEdge=500,
        CenterOfCircularShutter=[256],
        RadiusOfCircularShutter=100,
    )
    assert made.ShutterShape == "RECTANGULAR"
    assert (made.ShutterRightVerticalEdge, made.ShutterPresentationValue) == (400, 0)
    assert "RadiusOfCircularShutter" not in made
    assert dciodvfy(made, tmp_path) == []


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": DigitalXRayImageStorageForProcessing},
        {"PresentationIntentType": "FOR PROCESSING"},
    ],
)
def test_none_for_an_image_for_processing(state, tags):
    assert state(**tags) is None


def test_a_map_of_another_size_or_without_numbers_is_refused(read, stamp):
    instance = read()
    with pytest.raises(EvidenceError, match="512, 448"):
        presentation_state(instance, picture_of(instance, saliency=blob(5, 4)), stamp)
    broken = blob(512, 448)
    broken[0, 0] = np.inf
    with pytest.raises(EvidenceError, match="finite"):
        presentation_state(instance, picture_of(instance, saliency=broken), stamp)
