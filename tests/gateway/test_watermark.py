"""The watermarks against a model, with a disk whose size the test says."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from peers import send
from radiographs import make_radiograph

from cxr_pacs.errors import SettingsError, SpoolFull, SpoolUnavailable
from cxr_pacs.gateway.watermark import LOOK_SECONDS, MARK, Watermarks, disk_usage
from cxr_pacs.settings import Settings, SpoolSettings, parse_settings

HIGH, LOW = 0.9, 0.8


class Disk:
    """Stands for the file system, in per cent; a tenth of it is reserved for root and counts for nobody."""

    def __init__(self, monkeypatch, folder):
        self.percent = 0
        self.looks = 0
        self.now = 0.0
        self.settings = SpoolSettings(path=folder, high_watermark=HIGH, low_watermark=LOW)
        monkeypatch.setattr(os, "statvfs", self._look)

    def _look(self, _path):
        self.looks += 1
        free = 100 - self.percent
        return SimpleNamespace(f_blocks=110, f_bfree=free + 10, f_bavail=free, f_frsize=4096)

    def watermarks(self):
        return Watermarks(self.settings, lambda: self.now)

    def admits(self, watermarks):
        self.now += LOOK_SECONDS
        try:
            watermarks.admit()
        except SpoolFull:
            return False
        return True


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(monkeypatch, tmp_path)


@given(steps=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=30))
@trials(max_examples=150, deadline=None)
def test_it_refuses_from_the_high_mark_to_below_the_low_one_whatever_restarts(tmp_path_factory, steps):
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = Disk(monkeypatch, tmp_path_factory.mktemp("spool"))
        gateway, refusing = disk.watermarks(), False
        for percent, restarts in steps:
            gateway = disk.watermarks() if restarts else gateway
            disk.percent = percent
            refusing = percent >= 90 or (refusing and percent >= 80)
            assert disk.admits(gateway) is not refusing
            assert disk_usage(disk.settings).refusing is refusing


def test_it_says_each_change_once(disk, caplog):
    gateway = disk.watermarks()
    caplog.set_level("WARNING")
    for percent in (50, 95, 99, 85, 79, 50):
        disk.percent = percent
        disk.admits(gateway)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "instances are refused with A700 until it is below 80.0 %",
        "instances are accepted again; 3 were refused",
    ]


def test_the_disk_is_looked_at_once_a_second_at_most(disk):
    gateway = disk.watermarks()
    for _ in range(1000):
        gateway.admit()
    assert disk.looks == 1
    disk.now += LOOK_SECONDS
    gateway.admit()
    assert disk.looks == 2


def test_where_the_mark_cannot_be_made_the_process_remembers(disk):
    gateway = disk.watermarks()
    disk.percent = 95
    disk.settings.path.rmdir()
    assert not disk.admits(gateway)
    disk.percent = 85
    assert not disk.admits(gateway)
    assert disk.admits(disk.watermarks())


def test_no_disk_is_a_transient_error(tmp_path):
    gone = SpoolSettings(path=tmp_path / "gone")
    with pytest.raises(SpoolUnavailable, match="No such file"):
        Watermarks(gone, lambda: 0.0).admit()


def test_marks_the_wrong_way_round_are_named():
    with pytest.raises(SettingsError, match="low_watermark is above high_watermark"):
        parse_settings("[spool]\nhigh_watermark = 0.5\n", "site.toml")
    assert Settings().spool.low_watermark < Settings().spool.high_watermark


def test_a_gateway_above_its_mark_answers_a700_and_writes_nothing(make_settings, serving):
    settings = make_settings()
    full = settings.spool.model_copy(update={"high_watermark": 1e-9, "low_watermark": 1e-9})
    settings = settings.model_copy(update={"spool": full})
    with serving(settings) as gateway:
        assert send([make_radiograph()] * 2, gateway.port) == [0xA700] * 2
    assert (settings.spool.path / MARK).is_file()
    assert not list((settings.spool.path / "originals").glob("*/*"))
    assert not list((settings.spool.path / "incoming").glob("*/*"))
