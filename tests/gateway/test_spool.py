from __future__ import annotations

import stat

import pytest

from cxr_pacs.errors import ConfigurationError, SpoolUnavailable
from cxr_pacs.gateway.spool import Spool


def test_what_was_kept_is_there_and_whole(tmp_path):
    spool = Spool(tmp_path / "spool")
    name = spool.keep_original("ab" * 32, b"content")
    assert spool.path(name).read_bytes() == b"content"
    assert name == f"originals/ab/{'ab' * 32}.dcm"
    assert stat.S_IMODE(spool.path(name).stat().st_mode) == 0o600
    assert list((spool.root / "incoming").iterdir()) == []


def test_keeping_twice_changes_nothing(tmp_path):
    spool = Spool(tmp_path)
    assert spool.keep_result("2.25.1", b"x") == spool.keep_result("2.25.1", b"x")


def test_a_second_gateway_is_refused(tmp_path):
    with Spool(tmp_path).exclusive(), pytest.raises(ConfigurationError, match="another gateway"):
        Spool(tmp_path).exclusive().__enter__()
    with Spool(tmp_path).exclusive():
        pass


def test_what_was_half_written_is_swept(tmp_path):
    spool = Spool(tmp_path)
    (spool.root / "incoming" / "half").write_bytes(b"x")
    with spool.exclusive():
        assert list((spool.root / "incoming").iterdir()) == []


def test_a_disk_that_takes_nothing_is_a_transient_error(tmp_path):
    spool = Spool(tmp_path)
    (spool.root / "incoming").rmdir()
    with pytest.raises(SpoolUnavailable, match="No such file"):
        spool.keep_original("cd" * 32, b"x")


def test_a_spool_that_cannot_be_made_names_its_key(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"spool\.path"):
        Spool(tmp_path / "file" / "spool")
