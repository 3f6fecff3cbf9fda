"""Messages out of the bytes of a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_pacs.errors import RefusedMessage
from cxr_pacs.hl7v2.mllp import LARGEST, Frames, framed

_CONTENT = st.binary(max_size=30).map(lambda content: content.replace(b"\x0b", b"").replace(b"\x1c\r", b""))
_BETWEEN = st.sampled_from([b"", b"\r\n", b"\x1c\r", b"junk"])


@given(
    parts=st.lists(st.tuples(_BETWEEN, _CONTENT), max_size=4), cuts=st.lists(st.integers(1, 20), max_size=20)
)
def test_messages_come_whole_however_the_bytes_are_cut(parts, cuts):
    left = b"".join(between + framed(content) for between, content in parts)
    frames, found = Frames(), []
    for cut in cuts:
        found += frames.feed(left[:cut])
        left = left[cut:]
    found += frames.feed(left)
    assert found == [content for _, content in parts]
    assert not frames.begun


@pytest.mark.parametrize("end", [b"", b"\x1c\r"])
def test_a_message_too_long_is_refused_once_that_is_known(end):
    frames = Frames()
    assert list(frames.feed(framed(b"x" * (LARGEST - 1)))) == [b"x" * (LARGEST - 1)]
    with pytest.raises(RefusedMessage):
        list(frames.feed(b"\x0bMSH" + b"x" * LARGEST + end))
    assert frames.rest().startswith(b"MSHx")
