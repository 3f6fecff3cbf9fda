from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from training.toml import to_toml

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = (
    WORDS
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1)
FLAT = st.dictionaries(KEYS, PLAIN | st.lists(PLAIN))
DEEP = st.dictionaries(
    KEYS, PLAIN | FLAT | st.lists(FLAT, min_size=1) | st.dictionaries(KEYS, FLAT | st.lists(FLAT))
)


@given(DEEP)
def test_what_is_written_is_read_again(table):
    assert tomllib.loads(to_toml(table)) == table


def test_what_is_none_is_left_out_and_codes_stay_on_one_line():
    code = {"value": "1", "scheme": "SCT", "meaning": "One"}
    written = to_toml({"seed": None, "label": [{"code": code, "note": None}]})
    assert written == '\n[[label]]\ncode = { value = "1", scheme = "SCT", meaning = "One" }\n'
