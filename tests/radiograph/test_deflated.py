from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.errors import UnreadablePixels
from cxr_pacs.radiograph import check_inflation, deflated


def deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


@given(st.integers(0, 40), st.integers(1, 12))
def test_the_limit_is_exact_whatever_the_pieces(size, at_once):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(deflated, "MAXIMUM_INFLATED", 20)
        monkeypatch.setattr(deflated, "_AT_ONCE", at_once)
        content = deflate(bytes(range(size)))
        if size > 20:
            with pytest.raises(UnreadablePixels, match="more than the 20 bytes"):
                check_inflation(content)
        else:
            check_inflation(content)


def test_a_bomb_is_not_unpacked():
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(compressor.compress(zeros) for _ in range(300)) + compressor.flush()
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(UnreadablePixels):
        check_inflation(bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_what_is_not_deflated_is_said():
    with pytest.raises(zlib.error):
        check_inflation(b"not deflated")
