"""Decoding: exact values from every lossless syntax, and a clear refusal of what cannot be right."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from radiographs import make_radiograph, make_stored, synthetic_chest

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import pixels, read_radiograph, transfer_syntaxes
from cxr_pacs.radiograph.pixels import decode

LOSSLESS = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]
GRAY = {"PhotometricInterpretation": "MONOCHROME2"}
RAMP = np.arange(40 * 33, dtype=np.uint16).reshape(40, 33)


def compressed(frame, transfer_syntax=JPEG2000Lossless, **tags):
    """A radiograph of 40 x 33 whose pixel data is the given code stream."""
    dataset = make_stored(RAMP, bits=12, transfer_syntax=RLELossless, tags={**GRAY, **tags})
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.PixelData = encapsulate([frame])
    return dataset


def frame_of(stored, transfer_syntax, bits=12):
    dataset = make_stored(stored, bits=bits, transfer_syntax=transfer_syntax, tags=GRAY)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_lossless_syntaxes_give_back_every_value(syntax, bits):
    stored = (RAMP * 49).astype(np.int32) % (1 << bits)
    found = decode(make_stored(stored.astype(np.uint16), bits=bits, transfer_syntax=syntax, tags=GRAY))
    np.testing.assert_array_equal(found.codes, stored)
    assert (found.bits, found.signed) == (bits, False)
    np.testing.assert_array_equal(found.stored_values(), np.arange(1 << bits))


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless],
    ids=lambda uid: uid.keyword,
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_values(syntax, bits):
    stored = (RAMP * 49).astype(np.int32) % (1 << bits) - (1 << (bits - 1))
    found = decode(make_stored(stored.astype(np.int16), bits=bits, transfer_syntax=syntax, tags=GRAY))
    assert found.signed
    np.testing.assert_array_equal(found.stored_values()[found.codes], stored)


@pytest.mark.parametrize("bits", [10, 12])
def test_bits_above_bits_stored_are_ignored_in_native_data(bits):
    # PS3.5 8.1.1: they may hold anything; overlays once lived there.
    dataset = make_stored(RAMP % (1 << bits), bits=bits, tags=GRAY)
    words = np.frombuffer(dataset.PixelData, "<u2") | np.uint16(0x8000)
    dataset.PixelData = words.tobytes()
    np.testing.assert_array_equal(decode(dataset).codes, RAMP % (1 << bits))


@pytest.mark.parametrize(("syntax", "bits"), [(JPEGBaseline8Bit, 8), (JPEGExtended12Bit, 12)])
def test_lossy_jpeg_is_near(syntax, bits):
    picture = synthetic_chest(160, 128, 3)
    # dcmcjpeg moves the values and the window along.
    found = read_radiograph(make_radiograph(bits=bits, picture=picture, transfer_syntax=syntax))
    np.testing.assert_allclose(found.pixels, picture, atol=0.05)


def test_a_code_stream_of_8_bits_in_a_header_of_16_allocated():
    dataset = compressed(frame_of(RAMP % 256, JPEGLosslessSV1, bits=8), JPEGLosslessSV1)
    np.testing.assert_array_equal(decode(dataset).codes, RAMP % 256)


@pytest.mark.parametrize("signed_header", [0, 1])
def test_jpeg2000_whose_sign_contradicts_the_header(signed_header):
    stored = RAMP.astype(np.int32) - 600
    kind = np.int16 if not signed_header else np.uint16
    frame = frame_of((stored & 0xFFF if signed_header else stored).astype(kind), JPEG2000Lossless)
    found = decode(compressed(frame, PixelRepresentation=signed_header))
    np.testing.assert_array_equal(found.codes, stored & 0xFFF)


def test_jpeg2000_inside_its_file_format():
    frame = frame_of(RAMP, JPEG2000Lossless)
    box = struct.pack(">I4s", 8 + len(frame), b"jp2c") + frame
    header = struct.pack(">I4sHBBBBI", 22, b"ihdr", 0, 0, 0, 0, 0, 0)  # not read by anyone here
    signature = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ")
    stream = signature + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + box
    assert pixels._check_code_stream(stream, RAMP.shape) == 12


def test_a_lossy_overshoot_is_cut_to_the_brightest_value():
    frame = frame_of(RAMP * 3 + 300, JPEG2000Lossless, bits=13)
    assert decode(compressed(frame)).codes.max() == 4095


def test_values_above_bits_stored_in_a_code_stream_are_a_contradiction():
    frame = frame_of(RAMP * 40, JPEG2000Lossless, bits=16)
    with pytest.raises(UnreadablePixels, match="larger values"):
        decode(compressed(frame))


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"Rows": 0}, "0 rows"),
        ({"Columns": None}, "0 columns"),
        ({"Rows": 65535, "Columns": 65535}, "more than"),
        ({"BitsStored": 17, "HighBit": 16}, "Bits Stored"),
        ({"HighBit": 15}, "High Bit"),
        ({"BitsAllocated": 32}, "Bits Allocated"),
        ({"SamplesPerPixel": 3}, "grayscale"),
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"Rows": 41}, "bytes"),
        ({"Columns": 32}, "bytes"),
        ({"PixelData": b""}, "empty"),
        ({"PixelData": None}, "no pixel data"),
    ],
)
def test_contradictory_native_headers(tags, word):
    with pytest.raises(UnreadablePixels, match=word):
        decode(make_stored(RAMP, bits=12, tags={**GRAY, **tags}))


COMPRESSED = [
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.keyword)
def test_a_frame_that_is_cut_off(syntax, kept):
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    dataset = make_radiograph(picture=synthetic_chest(160, 128, 3), bits=bits, transfer_syntax=syntax)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: int(kept * len(frame))]])
    with pytest.raises(UnreadablePixels, match=r"cut off|damaged"):
        decode(dataset)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.keyword)
def test_pixel_data_that_is_cut_off(syntax):
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    dataset = make_radiograph(picture=synthetic_chest(160, 128, 3), bits=bits, transfer_syntax=syntax)
    dataset.PixelData = dataset.PixelData[:500]
    with pytest.raises(UnreadablePixels, match=r"cut off|damaged"):
        decode(dataset)


@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless],
    ids=lambda uid: uid.keyword,
)
def test_noise_instead_of_a_code_stream(syntax):
    noise = np.random.default_rng(5).integers(0, 256, 4000).astype(np.uint8).tobytes()
    with pytest.raises(UnreadablePixels):
        decode(compressed(noise, syntax))
    with pytest.raises(UnreadablePixels):
        decode(compressed(b"\xff\xd8" + noise, syntax))
    with pytest.raises(UnreadablePixels):
        decode(compressed(b"\xff\xd8" + 500 * b"\xff", syntax))


@pytest.mark.parametrize("syntax", transfer_syntaxes.CODE_STREAMS, ids=lambda uid: uid.keyword)
def test_flipped_bytes_are_decoded_or_refused(syntax):
    random = np.random.default_rng(2)
    dataset = dcmread(io.BytesIO(transfer_syntaxes._sample(syntax)))
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(300):
        frame = bytearray(transfer_syntaxes.CODE_STREAMS[syntax])
        for place in random.integers(0, len(frame), 3):
            frame[place] = random.integers(0, 256)
        dataset.PixelData = encapsulate([bytes(frame)])
        try:
            assert decode(dataset).codes.shape == (32, 32)
        except UnreadablePixels:
            outcomes["refused"] += 1
        else:
            outcomes["decoded"] += 1
    assert outcomes["refused"] > 0


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_the_code_stream_says_another_size_than_the_header(syntax):
    frame = frame_of(np.zeros((64, 64), np.uint16), syntax)
    with pytest.raises(UnreadablePixels, match="64 x 64"):
        decode(compressed(frame, syntax))


def test_more_bits_than_radiographs_have():
    frame = bytearray(frame_of(RAMP, JPEG2000Lossless))
    frame[42] = 23  # Ssiz: 24 bits
    with pytest.raises(UnreadablePixels, match="24 bits"):
        decode(compressed(bytes(frame)))


def test_far_too_much_compressed_data():
    with pytest.raises(UnreadablePixels, match="far larger"):
        decode(compressed(bytes(200_000), RLELossless))


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, UID("1.2.840.10008.1.2.4.100")])
def test_a_transfer_syntax_that_is_not_read(syntax):
    with pytest.raises(UnreadablePixels, match="transfer syntax"):
        decode(compressed(b"\0\0", syntax))


def test_every_syntax_of_the_readme_is_decodable_here():
    found = transfer_syntaxes.decodable_transfer_syntaxes()
    assert found == tuple(str(uid) for uid in (*pixels.NATIVE, *pixels.DECODERS))
    assert len(found) == 15


def test_a_decoder_that_is_missing_or_wrong_is_not_offered(monkeypatch):
    monkeypatch.setitem(pixels.DECODERS, JPEGLSLossless, "no such plugin")
    assert not transfer_syntaxes._decodes(JPEGLSLossless)
    monkeypatch.setitem(
        transfer_syntaxes.CODE_STREAMS, RLELossless, frame_of(np.zeros((32, 32)), RLELossless)
    )
    assert not transfer_syntaxes._decodes(RLELossless)
    assert transfer_syntaxes._decodes(ExplicitVRLittleEndian)
