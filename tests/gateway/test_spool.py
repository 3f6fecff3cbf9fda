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


def test_each_process_has_a_name_of_its_own_until_it_ends(tmp_path):
    names = ("host-0", "host-1")
    with Spool(tmp_path).place(names) as first:
        with Spool(tmp_path).place(names) as second:
            assert (first, second) == names
            with pytest.raises(ConfigurationError, match="too many"):
                Spool(tmp_path).place(names).__enter__()
        with Spool(tmp_path).place(names) as third:
            assert third == second


def test_what_a_predecessor_left_half_written_is_swept_and_nothing_of_another(tmp_path):
    for name in ("mine", "other"):
        with Spool(tmp_path).place([name]):
            (tmp_path / "incoming" / name / "half").write_bytes(b"x")
    spool = Spool(tmp_path)
    with spool.place(["mine"]):
        spool.keep_original("ab" * 32, b"content")
        assert [path.name for path in (tmp_path / "incoming").glob("*/*")] == ["half"]
        assert (tmp_path / "incoming" / "other" / "half").exists()


def test_what_the_dead_left_half_written_is_cleared_and_nothing_of_the_living(tmp_path):
    spool = Spool(tmp_path)
    half = tmp_path / "incoming" / "host-1" / "half"
    with Spool(tmp_path).place(["host-1"]):
        half.write_bytes(b"x")
        spool.clear("host-1")
        assert half.exists()
    spool.clear("host-1")
    assert not half.exists()
    spool.clear("never-there")


def test_every_folder_of_files_is_on_the_disk_before_the_first_file(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("cxr_pacs.gateway.spool.sync", synced.append)
    Spool(tmp_path)
    for kept in ("originals", "results", "orders"):
        assert len(list((tmp_path / kept).iterdir())) == 256
        assert tmp_path / kept in synced
    # Another process's, which may have made but not synced them yet.
    synced.clear()
    Spool(tmp_path)
    assert {tmp_path, *(tmp_path / kept for kept in ("originals", "results", "orders"))} == set(synced)


def test_an_order_is_kept_once_for_each_image(tmp_path):
    spool = Spool(tmp_path)
    names = {spool.keep_order(instance, said) for said in (b"x", b"y") for instance in (1, 2, 1)}
    assert len(names) == 4
    assert all(spool.path(name).read_bytes() in {b"x", b"y"} for name in names)


def test_a_disk_that_takes_nothing_is_a_transient_error(tmp_path):
    spool = Spool(tmp_path)
    (spool.root / "incoming").rmdir()
    with pytest.raises(SpoolUnavailable, match="No such file"):
        spool.keep_original("cd" * 32, b"x")


def test_a_spool_that_cannot_be_made_names_its_key(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"spool\.path"):
        Spool(tmp_path / "file" / "spool")


def test_what_no_row_knows_is_written_anew(tmp_path):
    spool = Spool(tmp_path)
    name = spool.keep_result("2.25.1", b"left by a process that died")
    assert spool.renew_result("2.25.1", b"of other content") == name
    assert spool.path(name).read_bytes() == b"of other content"
