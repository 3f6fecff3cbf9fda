"""The directory of an archive: what would fill the memory is refused before it is read."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile

import pytest

from cxr_pacs.errors import UnreadableMedium
from cxr_pacs.gateway import zip_members
from cxr_pacs.gateway.zip_members import MAXIMUM_MEMBERS, list_members

ENTRY = struct.pack("<4s42x", b"PK\x01\x02")


def end(count, size):
    return struct.pack("<4s4xHHIIH", b"PK\x05\x06", count % 65536, count % 65536, size % (1 << 32), 0, 0)


def end_64(size):
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 0)
    return record + struct.pack("<4sIQI", b"PK\x06\x07", 0, size, 1)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Of 100 members where no more are read."""
    monkeypatch.setattr(zip_members, "MAXIMUM_MEMBERS", 100)
    path = tmp_path / "disk.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for number in range(100):
            opened.writestr(f"IM{number}", b"x")
    return path


def add(path, count):
    with zipfile.ZipFile(path, "a") as opened:
        for number in range(count):
            opened.writestr(f"another {number}", b"x")


def test_as_many_members_as_may_be_and_one_more(archive):
    assert len(list_members(archive)) == 100
    add(archive, 1)
    with pytest.raises(UnreadableMedium, match="more than 100 members: nothing in it is read"):
        list_members(archive)


@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65535])
@pytest.mark.parametrize("prefix", [b"", b"MZ, unpacks itself" * 100])
def test_wherever_the_directory_lies(archive, comment, prefix):
    add(archive, 1)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = comment
    archive.write_bytes(prefix + archive.read_bytes())
    with pytest.raises(UnreadableMedium, match="more than 100 members"):
        list_members(archive)


def test_a_record_of_zip64_counts_whatever_the_short_one_says(archive):
    directory = ENTRY * 101
    for short in (0, 46, 0xFFFFFFFF):
        archive.write_bytes(directory + end_64(len(directory)) + end(1, short))
        with pytest.raises(UnreadableMedium, match="more than 100 members"):
            list_members(archive)
    archive.write_bytes(directory + b"-" * 56 + end_64(46)[56:] + end(1, 46))
    with pytest.raises(UnreadableMedium, match="damaged or incomplete"):
        list_members(archive)


@pytest.mark.parametrize("size", [100 * 256 + 1, 1 << 40, (1 << 64) - 1])
def test_a_directory_of_few_long_entries_is_not_read_either(archive, size):
    archive.write_bytes(ENTRY + end_64(size) + end(1, 46))
    with pytest.raises(UnreadableMedium, match=f"directory has {size} bytes: nothing in it is read"):
        list_members(archive)


def test_a_directory_of_nothing_but_entries_takes_no_memory(tmp_path):
    path = tmp_path / "entries.zip"
    size = len(ENTRY) * (MAXIMUM_MEMBERS + 1)
    path.write_bytes(ENTRY * (MAXIMUM_MEMBERS + 1) + end(MAXIMUM_MEMBERS + 1, size))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableMedium, match=f"more than {MAXIMUM_MEMBERS} members"):
            list_members(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
