"""A folder as destination: whole files, once, and never in place of another content."""

from __future__ import annotations

import os

import pytest

from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable
from cxr_pacs.gateway.folder import put_into_folder, writable_folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_named_by_its_uids_and_nothing_else_is_left(tmp_path):
    put_into_folder(tmp_path, "1.2", "1.2.3", b"content")
    put_into_folder(tmp_path, "1.2", "1.2.4", b"other")
    assert names(tmp_path) == ["1.2/1.2.3.dcm", "1.2/1.2.4.dcm"]
    assert (tmp_path / "1.2/1.2.3.dcm").read_bytes() == b"content"


def test_the_same_again_changes_nothing_and_another_content_is_refused(tmp_path):
    put_into_folder(tmp_path, "1.2", "1.2.3", b"content")
    before = (tmp_path / "1.2/1.2.3.dcm").stat()
    put_into_folder(tmp_path, "1.2", "1.2.3", b"content")
    assert (tmp_path / "1.2/1.2.3.dcm").stat() == before
    with pytest.raises(DeliveryRefused, match="another content"):
        put_into_folder(tmp_path, "1.2", "1.2.3", b"changed")
    assert (tmp_path / "1.2/1.2.3.dcm").read_bytes() == b"content"


def test_what_a_killed_process_left_half_written_is_written_anew(tmp_path):
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2/.1.2.3.part").write_bytes(b"half of a much longer")
    put_into_folder(tmp_path, "1.2", "1.2.3", b"whole")
    assert names(tmp_path) == ["1.2/1.2.3.dcm"]
    assert (tmp_path / "1.2/1.2.3.dcm").read_bytes() == b"whole"


def test_a_share_that_is_not_mounted_is_waited_for_and_not_made(tmp_path):
    with pytest.raises(DestinationUnavailable, match="there is no folder"):
        put_into_folder(tmp_path / "share", "1.2", "1.2.3", b"content")
    with pytest.raises(DestinationUnavailable, match="there is no folder"):
        writable_folder(tmp_path / "share")
    assert not (tmp_path / "share").exists()


def test_a_disk_that_does_not_take_it_is_tried_again(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(DestinationUnavailable, match="No space left"):
            put_into_folder(tmp_path, "1.2", "1.2.3", b"content")
    assert "1.2/1.2.3.dcm" not in names(tmp_path)
    put_into_folder(tmp_path, "1.2", "1.2.3", b"content")
    assert names(tmp_path) == ["1.2/1.2.3.dcm"]
