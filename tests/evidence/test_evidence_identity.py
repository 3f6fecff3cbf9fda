"""Deterministic UIDs, and recognising our own outputs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from cxr_pacs.evidence import is_own_output
from cxr_pacs.evidence.identity import EQUIPMENT_MODEL, MANUFACTURER, Stamp, instance_uid, series_uid

STAMP = Stamp(
    site_namespace=uuid.UUID(int=5),
    configuration_digest="aa",
    made_at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    software_version="0.1.0",
)
UIDS = st.from_regex(r"1\.2\.[1-9][0-9]{0,20}", fullmatch=True)


def made_by_us(uid):
    dataset = Dataset()
    dataset.SOPInstanceUID = uid
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = EQUIPMENT_MODEL
    return dataset


def test_a_stamp_without_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        dataclasses.replace(STAMP, made_at=dt.datetime(2026, 1, 2))  # noqa: DTZ001 - what is refused


@given(st.lists(UIDS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_sources_does_not_matter(sources, random):
    shuffled = random.sample(sources, len(sources))
    uid = instance_uid(STAMP, sources, "digest", "report")
    assert uid == instance_uid(STAMP, shuffled, "digest", "report")
    assert uid.is_valid
    assert len(uid) <= 44


def test_the_uid_is_the_documented_one():
    expected = uuid.uuid5(uuid.UUID(int=5), "1.2.3|1.2.4|digest|report|aa").int
    assert instance_uid(STAMP, ["1.2.4", "1.2.3"], "digest", "report") == f"2.25.{expected}"


def test_everything_that_changes_the_content_changes_the_uid():
    uids = {
        instance_uid(STAMP, ["1.2.3"], "digest", "report"),
        instance_uid(STAMP, ["1.2.4"], "digest", "report"),
        instance_uid(STAMP, ["1.2.3"], "other", "report"),
        instance_uid(STAMP, ["1.2.3"], "digest", "heatmap"),
        instance_uid(dataclasses.replace(STAMP, configuration_digest="b"), ["1.2.3"], "digest", "report"),
        instance_uid(
            dataclasses.replace(STAMP, site_namespace=uuid.UUID(int=6)), ["1.2.3"], "digest", "report"
        ),
        series_uid(STAMP, "1.2.3", "digest", "report"),
        series_uid(dataclasses.replace(STAMP, software_version="0.2.0"), "1.2.3", "digest", "report"),
    }
    assert len(uids) == 8


def test_the_time_does_not_change_the_uid():
    later = dataclasses.replace(STAMP, made_at=STAMP.made_at + dt.timedelta(days=1))
    assert instance_uid(later, ["1.2.3"], "d", "k") == instance_uid(STAMP, ["1.2.3"], "d", "k")


def test_own_output_is_recognised():
    assert is_own_output(made_by_us(instance_uid(STAMP, ["1.2.3"], "digest", "report")))


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1",
        f"2.25.{uuid.UUID('12345678-1234-4234-8234-123456789abc').int}",  # a random UUID, not name-based
        f"2.25.{2**128 + uuid.uuid5(uuid.UUID(int=5), 'x').int}",
        "2.25.9" + "9" * 39,
        "2.25.1.5",
    ],
)
def test_another_uid_under_our_equipment_is_not_ours(uid):
    assert not is_own_output(made_by_us(uid))


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "SOPInstanceUID"])
def test_one_missing_mark_is_enough_to_be_foreign(keyword):
    dataset = made_by_us(instance_uid(STAMP, ["1.2.3"], "digest", "report"))
    delattr(dataset, keyword)
    assert not is_own_output(dataset)
