"""Character sets of queries and answers: a label says what the bytes are (PS3.5 6.1)."""

from __future__ import annotations

import pytest

from cxr_pacs.worklist.character_sets import CharacterSets, in_a_set_of

NAME, SPECIFIC_CHARACTER_SET = 0x00100010, 0x00080005


@pytest.mark.parametrize(
    ("asked_in", "name", "answered_in"),
    [
        (["ISO_IR 6"], "M\u00fcller", "ISO_IR 100"),
        (["", "ISO 2022 IR 87"], "M\u00fcller", "ISO_IR 100"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "M\u00fcller", "ISO_IR 100"),
        (["", "ISO 2022 IR 87"], "A\u00d7B", "ISO_IR 100"),  # a sign of both Latin-1 and JIS X 0208
        (["", "ISO 2022 IR 87"], "M\u00fcller=\u5c71\u7530", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada=\u5c71\u7530^\u592a\u90ce", "\\ISO 2022 IR 87"),
        (["", "ISO 2022 IR 149"], "Hong=\u6d2a^\u5409\u6d1e", "\\ISO 2022 IR 149"),
        (["ISO 2022 IR 100"], "M\u00fcller", "ISO 2022 IR 100"),
    ],
)
def test_an_answer_is_in_the_set_that_it_names(asked_in, name, answered_in):
    answer = in_a_set_of(CharacterSets.of(asked_in), {NAME: name.encode()})
    label = answer[SPECIFIC_CHARACTER_SET].decode().strip()
    assert label == answered_in
    assert CharacterSets.of(label.split("\\")).decode(answer[NAME], "PN").rstrip() == name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "value",
    [b"A\x1b$Zxx", b"\x1b$)C\xc8\xab", b"\x1b$B\xff\xff"],
    ids=["unknown", "of a set not named", "not of the set"],
)
def test_what_an_escape_sequence_leaves_undecoded_is_refused(value):
    with pytest.raises(UnicodeError):
        CharacterSets.of(["", "ISO 2022 IR 87"]).decode(value, "LO")
