"""The table of P-values against the standard's formulas, written out again for one value at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph.grayscale import display_table, processing_table
from cxr_pacs.radiograph.pixels import StoredPixels

NOTHING_SEEN = np.array([], np.uint16)  # without visible pixels no VOI can be found to flatten them


def stored(bits, *, signed=False):
    return StoredPixels(codes=np.zeros((1, 1), np.uint16), bits=bits, signed=signed)


def header(photometric="MONOCHROME2", **elements):
    dataset = Dataset()
    dataset.PhotometricInterpretation = photometric
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def table(dataset, pixels, visible=NOTHING_SEEN):
    return display_table(dataset, pixels, visible)


def stored_value(code, bits, signed):
    return code - (1 << bits) if signed and code >= 1 << (bits - 1) else code


def linear(x, c, w):
    """PS3.3 C.11.2.1.2.1, y from 0 to 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x, c, w):
    """PS3.3 C.11.2.1.3.2."""
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 1.0
    return (x - c) / w + 0.5


def sigmoid(x, c, w):
    """PS3.3 C.11.2.1.3.1."""
    exponent = -4 * (x - c) / w
    return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))


FUNCTIONS = {None: linear, "LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


@given(
    bits=st.integers(8, 12),
    signed=st.booleans(),
    centre=st.integers(-8000, 8000).map(lambda v: v / 4),
    width=st.one_of(st.just(1.0), st.integers(4, 20000).map(lambda v: v / 4)),
    name=st.sampled_from(list(FUNCTIONS)),
    slope=st.sampled_from([1.0, 0.5, 2.0, -1.0, 0.125]),
    intercept=st.sampled_from([0.0, -1024.0, 37.5]),
    several=st.booleans(),
)
def test_windows(bits, signed, centre, width, name, slope, intercept, several):
    dataset = header(RescaleSlope=slope, RescaleIntercept=intercept)
    # Several windows are alternatives: the first is shown.
    dataset.WindowCenter, dataset.WindowWidth = ([centre, 1], [width, 2]) if several else (centre, width)
    if name is not None:
        dataset.VOILUTFunction = name
    found = table(dataset, stored(bits, signed=signed))
    expected = [
        FUNCTIONS[name](stored_value(code, bits, signed) * slope + intercept, centre, width)
        for code in range(1 << bits)
    ]
    np.testing.assert_allclose(found.p_values, expected, atol=2e-7)
    assert found.p_values.dtype == np.float32
    assert found.quality == ()


@given(
    bits=st.integers(8, 12),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, 0.5, 3.0, -2.0]),
    intercept=st.sampled_from([0.0, -100.0]),
)
def test_without_voi_the_full_range_is_shown(bits, signed, slope, intercept):
    dataset = header(RescaleSlope=slope, RescaleIntercept=intercept)
    found = table(dataset, stored(bits, signed=signed)).p_values
    rescaled = [stored_value(code, bits, signed) * slope + intercept for code in range(1 << bits)]
    low, high = min(rescaled), max(rescaled)
    np.testing.assert_allclose(found, [(v - low) / (high - low) for v in rescaled], atol=2e-7)


@st.composite
def luts(draw, *, signed_input):
    """A LUT item with its descriptor and data encoded in one of the ways that occur."""
    bits = draw(st.sampled_from([8, 10, 12, 16]))
    entries = draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=2, max_size=301))
    first = draw(st.integers(-300, 300) if signed_input else st.integers(0, 600))
    item = Dataset()
    as_unsigned = draw(st.booleans())  # some write a negative first value as US
    descriptor = [len(entries), first & 0xFFFF if as_unsigned else first, bits]
    item.add(DataElement("LUTDescriptor", "US" if as_unsigned or first >= 0 else "SS", descriptor))
    encoding = draw(st.sampled_from(["US", "OW"] + (["packed", "packed US"] if bits == 8 else [])))
    packed = bytes(v & 0xFF for v in entries)
    packed += bytes(len(packed) % 2)
    if encoding == "US":
        item.add(DataElement("LUTData", "US", entries))
    elif encoding == "OW":
        item.add(DataElement("LUTData", "OW", np.array(entries, "<u2").tobytes()))
    elif encoding == "packed":
        item.add(DataElement("LUTData", "OW", packed))
    else:
        item.add(DataElement("LUTData", "US", np.frombuffer(packed, "<u2").tolist()))
    return item, first, entries, bits


def looked_up(x, first, entries):
    """PS3.3 C.11.1.1.1: inputs beyond either end take the outermost entry."""
    return entries[min(max(round(x) - first, 0), len(entries) - 1)]


@given(data=st.data(), bits=st.integers(8, 10), signed=st.booleans())
def test_voi_lut(data, bits, signed):
    item, first, entries, lut_bits = data.draw(luts(signed_input=signed))
    # Where both kinds of VOI exist, the look-up table comes first.
    dataset = header(VOILUTSequence=Sequence([item, Dataset()]), WindowCenter=1, WindowWidth=2)
    found = table(dataset, stored(bits, signed=signed)).p_values
    expected = [
        looked_up(stored_value(code, bits, signed), first, entries) / ((1 << lut_bits) - 1)
        for code in range(1 << bits)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(data=st.data(), bits=st.integers(8, 10), signed=st.booleans())
def test_modality_lut_then_window(data, bits, signed):
    item, first, entries, _ = data.draw(luts(signed_input=signed))
    dataset = header(
        ModalityLUTSequence=Sequence([item]),
        RescaleSlope=7,  # a sequence makes the rescale void
        WindowCenter=500,
        WindowWidth=900,
    )
    found = table(dataset, stored(bits, signed=signed)).p_values
    expected = [
        linear(looked_up(stored_value(code, bits, signed), first, entries), 500, 900)
        for code in range(1 << bits)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-7)


@given(data=st.data())
def test_voi_lut_input_is_signed_when_the_rescale_makes_it_so(data):
    item, first, entries, lut_bits = data.draw(luts(signed_input=True))
    dataset = header(VOILUTSequence=Sequence([item]), RescaleSlope=1, RescaleIntercept=-128)
    found = table(dataset, stored(8)).p_values
    expected = [looked_up(code - 128, first, entries) / ((1 << lut_bits) - 1) for code in range(256)]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_descriptor_of_zero_entries_means_65536():
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", [0, 0, 16]))
    item.add(DataElement("LUTData", "OW", np.arange(65536)[::-1].astype("<u2").tobytes()))
    found = table(header(VOILUTSequence=Sequence([item])), stored(16)).p_values
    np.testing.assert_allclose(found, np.linspace(1, 0, 65536), atol=1e-7)


def test_a_lut_read_from_implicit_vr_bytes(tmp_path):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, -128, 12], np.arange(0, 4096, 16, "<u2").tobytes()
    dataset = header(VOILUTSequence=Sequence([item]), PixelRepresentation=1)
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "2.25.1"
    path = tmp_path / "lut.dcm"
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    found = table(dcmread(path, force=True), stored(8, signed=True)).p_values
    expected = [16 * (stored_value(code, 8, True) + 128) / 4095 for code in range(256)]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(bits=st.integers(8, 12), centre=st.integers(0, 4096), width=st.integers(1, 4096))
def test_monochrome1_is_the_negative(bits, centre, width):
    window = {"WindowCenter": centre, "WindowWidth": width}
    positive = table(header(**window), stored(bits)).p_values
    negative = table(header("MONOCHROME1", **window), stored(bits)).p_values
    np.testing.assert_allclose(negative, 1 - positive, atol=1e-7)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "remarks"),
    [
        ("MONOCHROME2", "IDENTITY", False, 0),
        ("MONOCHROME1", "INVERSE", True, 0),  # both say the same thing: once
        ("MONOCHROME2", "INVERSE", False, 1),
        ("MONOCHROME1", "IDENTITY", True, 1),
    ],
)
def test_polarity_is_applied_once_and_photometric_interpretation_is_trusted(
    photometric, shape, inverted, remarks
):
    found = table(header(photometric, PresentationLUTShape=shape), stored(8))
    assert bool(found.p_values[0] == 1) is inverted
    assert len(found.quality) == remarks
    assert all("trusted" in remark for remark in found.quality)


def remarks_on(**elements):
    found = table(header(**elements), stored(8))
    np.testing.assert_allclose(found.p_values, np.linspace(0, 1, 256), atol=1e-7)
    return " ".join(found.quality)


def test_wrong_windows_are_ignored_with_a_remark():
    assert "not valid" in remarks_on(WindowCenter=128, WindowWidth=0)
    assert "not valid" in remarks_on(WindowCenter=128, WindowWidth=0.5)
    assert "not valid" in remarks_on(WindowCenter=128, WindowWidth=-3, VOILUTFunction="SIGMOID")
    assert "not valid" in remarks_on(WindowCenter=128)
    assert remarks_on(WindowCenter=None, WindowWidth=None) == ""
    assert "Slope" in remarks_on(RescaleSlope=0, RescaleIntercept=0)


def test_an_unknown_function_is_taken_as_linear():
    found = table(header(WindowCenter=128, WindowWidth=256, VOILUTFunction="CUBIC"), stored(8))
    assert "unknown" in " ".join(found.quality)
    np.testing.assert_allclose(found.p_values, np.linspace(0, 1, 256), atol=1e-7)


def test_a_window_for_other_values_gives_way():
    dataset = header(WindowCenter=128, WindowWidth=256)
    visible = np.arange(20000, 30000).astype(np.uint16)
    found = table(dataset, stored(16), visible)
    assert found.quality == ("Window leaves the picture without contrast and was ignored.",)
    np.testing.assert_allclose(found.p_values, np.linspace(0, 1, 65536), atol=1e-7)


def test_a_flat_picture_is_no_reason_to_doubt_its_window():
    found = table(header(WindowCenter=128, WindowWidth=256), stored(16), np.full(9, 30000, np.uint16))
    assert found.quality == ()
    assert found.p_values[30000] == 1


def test_entries_beyond_their_bits_are_white_with_a_remark():
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", [2, 0, 8]))
    item.add(DataElement("LUTData", "US", [0, 4095]))
    found = table(header(VOILUTSequence=Sequence([item])), stored(8))
    assert found.p_values[1] == 1
    assert "beyond" in " ".join(found.quality)


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [
        ([4, 0, 8], b"\0\0"),
        ([4, 0], b"\0\0\0\0"),
        ([4, 0, 20], b"\0\0\0\0"),
        ([4, 0, 12], None),
    ],
)
def test_contradictory_luts_are_refused(descriptor, data):
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", descriptor))
    if data is not None:
        item.add(DataElement("LUTData", "OW", data))
    with pytest.raises(UnreadablePixels, match="LUT"):
        table(header(VOILUTSequence=Sequence([item])), stored(8))


def test_lut_data_of_text_is_refused():
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", [2, 0, 8]))
    item.add(DataElement("LUTData", "LO", ["a", "b"]))
    with pytest.raises(UnreadablePixels, match="numbers"):
        table(header(VOILUTSequence=Sequence([item])), stored(8))


@pytest.mark.parametrize("relationship", ["LIN", "LOG"])
@pytest.mark.parametrize("sign", [1, -1])
def test_for_processing_shows_less_radiation_brighter(relationship, sign):
    dataset = header(PixelIntensityRelationship=relationship, PixelIntensityRelationshipSign=sign)
    visible = np.arange(100, 4000).astype(np.uint16)
    found = processing_table(dataset, stored(12), visible)
    assert np.all(np.diff(found.p_values) * -sign >= 0)
    assert {found.p_values.min(), found.p_values.max()} == {0, 1}
    middle = found.p_values[1000] if sign < 0 else 1 - found.p_values[1000]
    assert bool(middle > 0.5) is (relationship == "LIN")  # the logarithm lifts small signals
    assert len(found.quality) == 1


def test_for_processing_without_sign_is_refused():
    with pytest.raises(UnreadablePixels, match="Sign"):
        processing_table(header(), stored(12), NOTHING_SEEN)
