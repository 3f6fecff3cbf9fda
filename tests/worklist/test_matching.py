"""Matching as PS3.4 C.2.2.2 has it, and the database's part in it: never less than what matches."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from generated_worklists import STEPS, items, queries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from cxr_pacs.errors import RefusedQuery
from cxr_pacs.worklist import Query, Worklist, WorklistItem, encoded_answer, open_worklist
from cxr_pacs.worklist.conditions import like
from cxr_pacs.worklist.elements import read_elements, write_elements
from cxr_pacs.worklist.narrowing import narrowed
from cxr_pacs.worklist.tables import item as item_table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = {"AccessionNumber": "A1", "PatientName": "Doe^John", "PatientID": "P1", "StudyInstanceUID": "1.2.3"}
STEP = {
    "ScheduledStationAETitle": ["DX1", "DX2"],
    "ScheduledProcedureStepStartDate": "20260105",
    "ScheduledProcedureStepStartTime": "1030",
    "Modality": "DX",
    "ScheduledProcedureStepID": "S1",
}


def dataset(**values: Any) -> Dataset:
    """Values by keyword; those of the step are put into it."""
    root, step = Dataset(), Dataset()
    for keyword, value in values.items():
        tag = Tag(keyword)
        where = step if keyword == "Modality" or keyword.startswith("Scheduled") else root
        where.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    setattr(root, STEPS, [step])
    return root


def matches(wanted: Dataset, *, fuzzy: bool = False, **have: Any) -> bool:
    held = WorklistItem.of(dataset(**{"RequestedProcedureID": "R1", **ROOT, **STEP, **have}))
    return Query.of(wanted, fuzzy=fuzzy).matches(read_elements(held.to_bytes()))


DATE, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [
        ({}, True),
        ({"PatientID": "P1"}, True),
        ({"PatientID": " P1 "}, True),
        ({"PatientID": "p1"}, False),
        ({"PatientID": "P"}, False),
        ({"PatientID": "P?"}, True),
        ({"PatientID": "P1?"}, False),
        ({"PatientID": "*"}, True),
        ({"PatientComments": "*"}, True),
        ({"PatientComments": "?*"}, False),
        ({"StudyInstanceUID": ["1.2", "1.2.3"]}, True),
        ({"StudyInstanceUID": ["1.2", "1.2.4"]}, False),
        ({"PatientName": "DOE^JOHN^^"}, True),
        ({"PatientName": "Doe"}, False),
        ({"PatientName": "doe*"}, True),
        ({"PatientName": "*^j?hn"}, True),
        ({"ScheduledStationAETitle": "DX2"}, True),
        ({"ScheduledStationAETitle": "DX3"}, False),
        ({DATE: "20260105"}, True),
        ({DATE: "20260101-20260105"}, True),
        ({DATE: "-20260104"}, False),
        ({DATE: "20260105-"}, True),
        ({TIME: "10"}, True),
        ({TIME: "1030"}, True),
        ({TIME: "103000"}, True),
        ({TIME: "103001-"}, False),
        ({TIME: "-1030"}, True),
        ({DATE: "20260104-20260106", TIME: "2200-0600"}, True),  # one interval, not each night
        ({DATE: "20260105-20260106", TIME: "1100-0600"}, False),
        ({DATE: "20260104-20260105", TIME: "2200-1000"}, False),
        ({DATE: "20260105-", TIME: "-0900"}, True),  # its end is open
        ({DATE: "20260104-20260106", TIME: "11"}, False),  # one time is no range: of each day
    ],
    ids=str,
)
def test_what_a_key_matches(wanted, answered):
    assert matches(dataset(**wanted)) is answered


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [
        ("Yamada^Tarou", True),
        ("山田*", True),  # of one group: in any
        ("=山田^太郎", True),
        ("=yamada*", False),
        ("yamada*=山田*", True),
        ("yamada*=鈴木*", False),
        ("==やまだ*", True),
    ],
)
def test_a_name_by_its_groups(wanted, answered):
    have = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert (
        matches(dataset(PatientName=wanted), PatientName=have, SpecificCharacterSet="ISO_IR 192") is answered
    )


@pytest.mark.parametrize(
    ("wanted", "answered"),
    [("John Doe", True), ("Jon^Doh", True), ("doe", True), ("j*", True), ("Miller", False), ("Doe X", False)],
)
def test_a_fuzzy_name(wanted, answered):
    assert matches(dataset(PatientName=wanted), fuzzy=True) is answered


@pytest.mark.parametrize(
    ("wanted", "have", "answered"),
    [
        ("Doe^*", "Doe", True),  # which is Doe^^^^
        ("Doe^*", "DOE^^^", True),
        ("*^^*", "Doe^John", True),
        ("Doe^John^*", "Doe^John", True),
        ("Doe^J*", "Doe", False),
        ("Doe^*", "Doering", False),
        ("Doe^*=*", "Doe", True),
        ("=山田^*", "Yamada=山田", True),
        ("Doe^*^^^^*", "Doe", False),  # of six components
    ],
)
def test_a_wildcard_finds_the_delimiters_that_a_name_leaves_out(tmp_path, wanted, have, answered):
    opened = open_worklist(f"sqlite:///{tmp_path / 'worklist.sqlite'}")
    held = dataset(**{"RequestedProcedureID": "R1", **ROOT, **STEP, "PatientName": have})
    held.SpecificCharacterSet = "ISO_IR 192"
    asked = dataset(PatientName=wanted)
    asked.SpecificCharacterSet = "ISO_IR 192"
    with opened.begin() as connection:
        opened.put(connection, [WorklistItem.of(held)], "test", 0.0)
    assert len(list(opened.find(Query.of(asked)))) == answered
    opened.engine.dispose()


def test_composed_and_decomposed_are_the_same():
    assert matches(
        dataset(PatientName="Mu\u0308ller*"), PatientName="M\u00fcller", SpecificCharacterSet="ISO_IR 192"
    )


def test_a_code_in_one_of_its_items():
    def code(value: str, meaning: str = "") -> Dataset:
        one = Dataset()
        one.CodeValue, one.CodeMeaning = value, meaning
        return one

    have = [code("C1", "one"), code("C2", "two")]
    asked = dataset(RequestedProcedureCodeSequence=[code("C2")])
    held = WorklistItem.of(
        dataset(RequestedProcedureID="R1", RequestedProcedureCodeSequence=have, **ROOT, **STEP)
    )
    query = Query.of(asked)
    (only,) = query.cut(read_elements(held.to_bytes()))[Tag("RequestedProcedureCodeSequence")]
    assert only == {Tag("CodeValue"): b"C2", Tag("CodeMeaning"): b"two "}
    assert not matches(asked, RequestedProcedureCodeSequence=have[:1])
    assert not matches(asked)


@pytest.mark.parametrize("wanted", [{"StudyInstanceUID": "1.2.?"}, {"PatientBirthDate": "2026"}])
def test_what_no_key_may_be(wanted):
    with pytest.raises(RefusedQuery, match=next(iter(wanted))) as refused:
        Query.of(dataset(**wanted))
    assert next(iter(wanted.values())) not in str(refused.value)


def test_many_asterisks_take_no_longer():
    began = time.perf_counter()
    assert not like("*a" * 30 + "b").accepts("a" * 64)
    assert time.perf_counter() - began < 1


@given(st.text("ab^*?", max_size=8), st.text("ab^", max_size=8))
def test_wildcards_are_what_a_regular_expression_says(pattern, value):
    expression = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    assert like(pattern).accepts(value) == bool(re.fullmatch(expression, value, re.DOTALL))


@given(items(1))
def test_elements_keep_every_value(made):
    encoded = WorklistItem.of(made[0]).to_bytes()
    assert write_elements(read_elements(encoded), explicit=False) == encoded


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def worklist(request, tmp_path_factory) -> Iterator[Worklist]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('worklist') / 'worklist.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_server").new_database()
    opened = open_worklist(url)
    yield opened
    opened.engine.dispose()


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_database_narrows_to_no_less_than_what_matches(worklist, data):
    held = data.draw(items(12))
    with worklist.begin() as connection:
        connection.execute(sa.delete(item_table))
        worklist.put(connection, map(WorklistItem.of, held), "test", 0.0)
    for _ in range(8):
        query = Query.of(data.draw(queries()), fuzzy=data.draw(st.booleans()))
        having = (read_elements(WorklistItem.of(one).to_bytes()) for one in held)
        wanted = sorted(query.cut(one)[Tag("AccessionNumber")] for one in having if query.matches(one))
        assert sorted(query.cut(one)[Tag("AccessionNumber")] for one in worklist.find(query)) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        {"Modality": "DX", DATE: "20260105"},
        {DATE: "20260105-20260106", TIME: "10-12"},
        {"ScheduledStationAETitle": "DX1"},
        {"PatientID": "P1"},
        {"AccessionNumber": "A1*"},
        {"StudyInstanceUID": ["1.2", "1.3"]},
        {"ScheduledProcedureStepID": "S1"},
        {"PatientName": "doe*"},
    ],
    ids=str,
)
def test_usual_keys_scan_no_table(tmp_path, wanted):
    opened = open_worklist(f"sqlite:///{tmp_path / 'worklist.sqlite'}")
    asked = sa.select(item_table.c.id).where(*narrowed(Query.of(dataset(**wanted))))
    sql = str(asked.compile(opened.engine, compile_kwargs={"literal_binds": True}))
    with opened.engine.connect() as connection:
        plan = " ".join(str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
    opened.engine.dispose()
    assert "SEARCH" in plan
    assert "SCAN" not in plan


def test_an_answer_decodes_to_what_was_stored():
    held = WorklistItem.of(dataset(RequestedProcedureID="R1", **ROOT, **STEP))
    query = Query.of(dataset(PatientName="", Modality=""))
    assert b"Doe^John" in encoded_answer(query, read_elements(held.to_bytes()), explicit=True)
