"""A watched folder: what is dropped in comes in once, what goes wrong has a reason, and it lives on."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from bright_engine import BrightEngine
from peers import dcmtk, eventually
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from radiographs import make_radiograph

from cxr_pacs.cli import main
from cxr_pacs.errors import SpoolUnavailable
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.service import Gateway, Role
from cxr_pacs.gateway.standing import standing
from cxr_pacs.gateway.tables import watched_file
from cxr_pacs.gateway.watch import FolderWatch, watch_standings
from cxr_pacs.gateway.watch.file_intake import FileIntake, Outcome
from cxr_pacs.gateway.watch.noticing import Notices
from cxr_pacs.gateway.watch.record import Record
from cxr_pacs.gateway.watch.tree import FileState, Tree
from cxr_pacs.gateway.watermark import disk_usage
from cxr_pacs.settings import Settings, SpoolSettings
from cxr_pacs.watching import WatchSettings

CONTEXTS = {str(DigitalXRayImageStorageForPresentation): (str(ExplicitVRLittleEndian),)}
TINY = np.linspace(0, 1, 96, dtype=np.float32).reshape(12, 8)


class Site:
    """A watched folder, a ledger, and in place of the intake a list."""

    def __init__(self, folder):
        self.folder = folder / "in"
        self.folder.mkdir()
        (folder / "spool").mkdir()
        self.config = folder / "site.toml"
        self.config.write_text(
            f"[spool]\npath = '{folder / 'spool'}'\n"
            f"[[watch]]\nname = 'in'\nfolder = '{self.folder}'\nmove = true"
        )
        self.ledger = open_ledger(Settings(spool=SpoolSettings(path=folder / "spool")).database_url)
        self.received = []
        self.fault = None
        self.spared = []
        self.taken = []

    def receive(self, instance):
        if self.fault is not None and instance.sop_instance_uid not in self.spared:
            raise self.fault
        self.received.append(instance)

    @property
    def uids(self):
        return [one.sop_instance_uid for one in self.received]

    @property
    def rows(self):
        with self.ledger.begin() as connection:
            return connection.execute(sa.select(watched_file)).all()

    def drop(self, name, **tags):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = make_radiograph(picture=TINY, PatientID=str(name), **tags)
        dataset.save_as(path)
        return str(dataset.SOPInstanceUID)

    @contextmanager
    def watching(self, **keys):
        site = self

        class Intake(FileIntake):
            def take(self, path, state):
                site.taken.append(os.path.relpath(path, site.folder))
                return super().take(path, state)

        paces = {"folder": self.folder, "rescan": 0.3, "stable": 0.1}
        settings = WatchSettings(name="in", **paces | keys)
        intake = Intake(settings.source, CONTEXTS, self.receive)
        watch = FolderWatch(settings, intake, Record(self.ledger, "in", time.time))
        watch.start()
        try:
            yield
        finally:
            watch.stop(10.0)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.ledger.engine.dispose()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("cxr_pacs.gateway.watch.folder_watch._PAUSE", 0.2)
    monkeypatch.setattr("cxr_pacs.gateway.watch.folder_watch._SECOND_THOUGHTS", 1.0)


@pytest.fixture
def looks(monkeypatch):
    """What each look over the whole folder saw."""
    look, seen = Tree.files, []

    def looked(self):
        seen.append(list(look(self)))
        return iter(seen[-1])

    monkeypatch.setattr(Tree, "files", looked)
    return seen


def test_a_restart_reads_nothing_again_and_a_changed_file_alone_is_looked_at(site):
    wanted = [site.drop(f"{year}/IM{year}") for year in range(20)]
    with site.watching():
        eventually(lambda: len(site.rows) == 20)
    assert sorted(site.uids) == sorted(wanted)
    assert {row.state for row in site.rows} == {"taken"}
    site.taken.clear()
    changed = site.drop("3/IM3", StudyDescription="corrected")
    with site.watching():
        eventually(lambda: site.uids[20:] == [changed])
    assert site.taken == ["3/IM3"]


@pytest.mark.parametrize("notice", ["events", "polling"])
def test_files_that_grow_are_renamed_in_copied_replaced_or_removed(site, notice, looks, tmp_path):
    # With events alone: the next look over everything would come in a minute.
    with site.watching(notice=notice, rescan=60.0 if notice == "events" else 0.3):
        eventually(lambda: looks)  # and listens since before
        first = site.drop("first")
        eventually(lambda: site.uids == [first])
        content = (site.folder / "first").read_bytes()
        with (site.folder / "grows").open("wb") as file:
            for start in range(0, len(content), 200):
                file.write(content[start : start + 200])
                file.flush()
                os.fsync(file.fileno())
        (site.folder / "renamed.part").write_bytes(content)
        (site.folder / "renamed.part").rename(site.folder / "renamed")
        shutil.copytree(site.folder, tmp_path / "beside")
        (tmp_path / "beside").rename(site.folder / "folder")
        (site.folder / "removed").write_bytes(content)
        (site.folder / "removed").unlink()
        second = site.drop("replaced.part")
        (site.folder / "replaced.part").replace(site.folder / "first")
        eventually(lambda: second in site.uids)
        eventually(lambda: {"grows", "renamed", "folder/first"} <= set(site.taken))
        # Each came whole, the same bytes as often as there are copies: which the intake knows.
        assert {one.dataset for one in site.received if one.sop_instance_uid == first} == {
            site.received[0].dataset
        }
    assert {row.state for row in site.rows} == {"taken"}


@pytest.mark.parametrize("name", ["in", "link"])
def test_a_relative_or_a_linked_folder_is_heard_and_each_file_read_once(site, monkeypatch, looks, name):
    monkeypatch.chdir(site.folder.parent)
    Path("link").symlink_to("in")
    with site.watching(folder=Path(name), rescan=0.3):
        eventually(lambda: len(looks) > 1)
        wanted = site.drop("film")
        eventually(lambda: site.rows)
        seen = len(looks)
        eventually(lambda: len(looks) > seen + 2)
    assert site.uids == [wanted]
    assert len(site.taken) == len(site.rows) == 1


def test_a_file_is_taken_in_as_soon_as_it_is_whole_and_not_before(site):
    content_of = site.drop(".hidden")
    content = (site.folder / ".hidden").read_bytes()
    with site.watching():
        for end in (140, 600, len(content) - 1):
            (site.folder / "slow").write_bytes(content[:end])
            eventually(lambda end=end: [row.state for row in site.rows if row.size == end] == ["failed"])
            assert site.received == []
        (site.folder / "slow").write_bytes(content)
        eventually(lambda: [row.state for row in site.rows] == ["taken"])
    assert site.uids == [content_of]


def test_a_folder_that_disappears_and_comes_back(site, caplog, tmp_path):
    first = site.drop("first")
    with site.watching(rescan=0.2), caplog.at_level(logging.INFO, "cxr_pacs"):
        eventually(lambda: site.uids == [first])
        site.folder.rename(tmp_path / "away")
        eventually(lambda: "the folder cannot be read: No such file or directory" in caplog.text)
        assert len(site.rows) == 1
        (tmp_path / "away").rename(site.folder)
        eventually(lambda: "the folder is there again" in caplog.text)
        second = site.drop("second")
        eventually(lambda: site.uids == [first, second])
    assert caplog.text.count("the folder cannot be read") == 1


def test_bad_files_have_a_reason_each_and_nothing_tells_a_name(site, caplog, capsys):
    (site.folder / "Doe_John_empty").touch()
    (site.folder / "notes.txt").write_text("Doe, John")
    with (site.folder / "vast").open("wb") as file:
        file.write(bytes(128) + b"DICM")
        file.truncate(5 << 30)
    (site.folder / "loop").symlink_to(site.folder)
    with open(os.fsencode(site.folder) + b"/r\xf6ntgen", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    good = site.drop("Doe_John.dcm")
    with caplog.at_level(logging.INFO, "cxr_pacs"), site.watching(rescan=0.1):
        eventually(lambda: len(site.rows) == 6)
        eventually(lambda: site.taken.count("Doe_John_empty") == 1)
    assert site.uids == [good]
    reasons = sorted(row.reason or "" for row in site.rows)
    assert [one.split(";")[0].split(":")[0] for one in reasons] == [
        "",
        "A link to a folder is not followed",
        "It has 5368709120 bytes",
        "It is empty.",
        "It is not a DICOM file.",
        "It is not a DICOM file.",
    ]
    assert caplog.text.count("failed") == 2
    assert "Doe" not in caplog.text
    assert "Doe" not in str(site.rows)

    assert main(["status", "--config", str(site.config)]) == 3
    said = capsys.readouterr().out
    assert "in: 1 files taken in, 3 refused, 2 failed" in said
    assert main(["why", str(site.folder / "Doe_John_empty"), "--config", str(site.config)]) == 3
    assert capsys.readouterr().out.endswith("Doe_John_empty: It could not be taken in: It is empty.\n")
    assert main(["why", str(site.folder), "--config", str(site.config)]) == 3
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 5
    assert "r\\xf6ntgen: It is nothing for this gateway: It is not a DICOM file." in said
    assert "Doe_John.dcm" not in said


def test_the_library_that_hears_of_folders_names_none(tmp_path, monkeypatch):
    """It warns of a folder that it meets twice: made in another one while that is walked through."""
    walk, walked = os.walk, []

    def make_one_and_walk(top, **keys):
        walked.append(Path(os.fsdecode(top)))
        if walked[-1].name == "DOE^JANE":
            (walked[-1] / "2024").mkdir(exist_ok=True)
        return walk(top, **keys)

    monkeypatch.setattr(os, "walk", make_one_and_walk)
    notices, heard = Notices(tmp_path, threading.Event()), set()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert main(["status", "--config", "none"]) == 2  # as every command, it sets what is logged
        notices.attach()
        (tmp_path / "DOE^JANE").mkdir()
        eventually(lambda: tmp_path / "DOE^JANE/2024" in walked)
        (tmp_path / "last").touch()
        eventually(lambda: heard.update(notices.take()) or str(tmp_path / "last") in heard)
        notices.detach()
    assert str(tmp_path / "DOE^JANE/2024") in heard
    assert [str(one.message) for one in warned] == []
    log = logging.getLogger("watchdog.observers.inotify_c")
    assert log.isEnabledFor(logging.WARNING)  # as when events were lost


def test_what_a_dicomdir_names_is_told_until_it_is_there(site, capsys, tmp_path):
    site.drop("FILM")
    directory = str(site.folder / "DICOMDIR")
    made = dcmtk("dcmmkdir", "+r", "+id", site.folder, "+D", directory, "FILM")
    assert made.returncode == 0, made.stderr
    (site.folder / "FILM").rename(tmp_path / "FILM")
    with site.watching(rescan=0.1):
        eventually(lambda: [row.state for row in site.rows] == ["failed"])
        assert main(["why", directory, "--config", str(site.config)]) == 3
        assert "It names files that are not there or cannot be read" in capsys.readouterr().out
        (tmp_path / "FILM").rename(site.folder / "FILM")
        eventually(lambda: sorted(row.state for row in site.rows) == ["refused", "taken"])
    assert main(["why", directory, "--config", str(site.config)]) == 0
    assert "the files that it names are taken in by themselves" in capsys.readouterr().out


def test_why_tells_what_of_an_archive_that_was_taken_in_was_not(site, capsys):
    site.drop(".film")
    with zipfile.ZipFile(site.folder / "cd.zip", "w") as archive:
        archive.write(site.folder / ".film", "film")
        archive.writestr("viewer.exe", b"MZ")
    with site.watching():
        eventually(lambda: [row.state for row in site.rows] == ["taken"])
    for asked in (site.folder, site.folder / "cd.zip"):
        assert main(["why", str(asked), "--config", str(site.config)]) == 0
        said = "cd.zip: It was taken in. Of 2 members of the archive 1 refused: It is not a DICOM file.\n"
        assert capsys.readouterr().out.endswith(said)


def test_what_is_moved_lies_in_done_or_failed_with_its_reason(site, capsys):
    good = site.drop("2024/good.dcm")
    (site.folder / "2024" / "bad").write_bytes(b"")
    with site.watching(move=True):
        eventually((site.folder / "done/2024/good.dcm").is_file)
        eventually((site.folder / "failed/2024/bad").is_file)
    assert (site.folder / "failed/2024/bad.reason").read_text() == "It is empty.\n"
    assert site.uids == [good]
    assert main(["status", "--config", str(site.config)]) == 3
    assert "1 failed" in capsys.readouterr().out


@pytest.mark.parametrize("end", [100, 131, 144, "meta", 900, "preallocated"])
def test_a_half_file_is_not_moved_from_under_its_writer(site, monkeypatch, looks, end):
    monkeypatch.setattr("cxr_pacs.gateway.watch.folder_watch._SECOND_THOUGHTS", 60.0)
    wanted = site.drop(".film")
    content = (site.folder / ".film").read_bytes()
    ends = {"meta": 144 + int.from_bytes(content[140:144], "little"), "preallocated": 0}
    end = ends.get(end, end)
    (site.folder / "film").write_bytes(content[:end] or bytes(len(content)))
    with site.watching(move=True, rescan=0.1):
        eventually(lambda: [row.state for row in site.rows] in [["failed"], ["refused"]])
        seen = len(looks)
        eventually(lambda: len(looks) > seen + 1)
        with (site.folder / "film").open("r+b") as file:
            file.seek(end)
            file.write(content[end:])
        eventually((site.folder / "done" / "film").is_file)
    assert site.uids == [wanted]
    assert not (site.folder / "failed").exists()


def test_what_replaces_a_file_after_it_was_read_is_read_before_it_is_moved(site):
    first, second = site.drop("film"), site.drop(".film", StudyDescription="corrected")
    content = (site.folder / ".film").read_bytes()
    receive = site.receive

    def replaced(instance):
        receive(instance)
        if len(site.received) == 1:
            (site.folder / ".film").replace(site.folder / "film")

    site.receive = replaced
    with site.watching(move=True, rescan=0.1):
        eventually((site.folder / "done" / "film").is_file)
    assert site.uids == [first, second]
    assert (site.folder / "done" / "film").read_bytes() == content


def test_what_cannot_be_moved_is_told_once(site, monkeypatch, caplog, looks):
    def across_file_systems(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr("cxr_pacs.gateway.watch.filing.Path.rename", across_file_systems)
    site.drop("good")
    (site.folder / "bad").touch()
    with caplog.at_level(logging.WARNING, "cxr_pacs"), site.watching(move=True, rescan=0.1):
        eventually(lambda: caplog.text.count("is not moved: Invalid cross-device link") == 2)
        seen = len(looks)
        eventually(lambda: len(looks) > seen + 3)
    assert caplog.text.count("is not moved") == 2
    assert not list(site.folder.rglob("*.reason"))


def test_one_that_was_taken_in_by_a_process_that_died_is_moved_by_the_next(site):
    site.drop("good")
    with site.watching():
        eventually(lambda: len(site.rows) == 1)
    with site.watching(move=True):
        eventually((site.folder / "done" / "good").is_file)
    assert site.taken == ["good"]


def test_while_the_spool_takes_nothing_files_wait(site, caplog):
    site.fault = SpoolUnavailable("the spool did not take a file: No space left on device")
    wanted = site.drop("good")
    with caplog.at_level(logging.WARNING, "cxr_pacs"), site.watching():
        eventually(lambda: "nothing is taken in: the spool did not take a file" in caplog.text)
        assert site.rows == []
        site.fault = None
        eventually(lambda: site.uids == [wanted])


def test_what_nobody_foresaw_ends_no_watch(site, caplog):
    site.fault = ZeroDivisionError("Doe^John")
    wanted = site.drop("a")
    site.spared = [site.drop(name) for name in ("b", "c")]
    with caplog.at_level(logging.WARNING, "cxr_pacs"), site.watching():
        eventually(lambda: "failed It cannot be read: ZeroDivisionError in receive" in caplog.text)
        eventually(lambda: site.uids == site.spared)
        site.fault = None
        eventually(lambda: site.uids == [*site.spared, wanted])
    assert "Doe" not in caplog.text


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"header_offset": 1 << 63}, "the member is not where its directory says"),
        ({"header_offset": 1 << 62}, "the member is not where its directory says"),
        ({"filename": ""}, "The ZIP archive is damaged or incomplete (IndexError)"),
    ],
    ids=["beyond-any-file", "beyond-this-file", "no-name"],
)
def test_a_forged_archive_keeps_no_other_file_out(site, forged, said):
    wanted = [site.drop("a.dcm")]
    with zipfile.ZipFile(site.folder / "b.zip", "w") as archive:
        archive.writestr("x", b"x")
        (member,) = archive.filelist
        for name, value in forged.items():
            setattr(member, name, value)
    wanted += [site.drop(name) for name in ("c.dcm", "d.dcm")]
    with site.watching(rescan=0.1):
        eventually(lambda: len(site.rows) == 4)
    assert site.uids == wanted
    (bad,) = (row for row in site.rows if row.state != "taken")
    assert bad.state == "failed"
    assert said in bad.reason


def test_files_that_are_gone_are_forgotten_but_not_where_another_folder_is_there(site, looks, tmp_path):
    for name in ("a", "b"):
        site.drop(name)
    with site.watching(rescan=0.1):
        eventually(lambda: len(site.rows) == 2)
        (site.folder / "a").unlink()
        eventually(lambda: len(site.rows) == 1)
        site.folder.rename(tmp_path / "away")
        site.folder.mkdir()  # as where a share is not mounted
        eventually(lambda: looks[-2:] == [[], []])
        assert len(site.rows) == 1
        site.folder.rmdir()
        (tmp_path / "away").rename(site.folder)
        (site.folder / "b").unlink()
        eventually(lambda: site.rows == [])
    with site.watching(rescan=0.1):
        (site.folder / "bad").touch()
        eventually(lambda: [row.state for row in site.rows] == ["failed"])
        (site.folder / "bad").unlink()
        eventually(lambda: site.rows == [])


def test_what_failed_in_a_folder_that_is_watched_no_more_needs_nobody(tmp_path, on_both_databases):
    spool = {"path": tmp_path / "spool"}
    settings = Settings.model_validate({"spool": spool, "database": {"url": on_both_databases}})
    watched = settings.model_copy(update={"watch": (WatchSettings(name="in", folder=tmp_path),)})
    (tmp_path / "spool").mkdir()
    ledger = open_ledger(settings.database_url)
    record = Record(ledger, "in", time.time)
    for name, outcome in (
        ("good", Outcome(state="taken")),
        ("bad", Outcome(state="failed", reason="It is empty.")),
    ):
        record.put(str(tmp_path / name), FileState(1, 1), outcome)
    record.flush()

    def needs_a_person(settings):
        with ledger.begin() as connection:
            watches = watch_standings(connection, settings)
            assert [one.taken for one in watches] == [1]
            return standing(connection, {}, watches, disk_usage(settings.spool)).needs_a_person

    assert needs_a_person(watched)
    gateway = Gateway(settings, BrightEngine(), Role.WATCHER)
    gateway.start()
    gateway.stop()
    assert not needs_a_person(settings)
    # There it may be another host's.
    assert needs_a_person(watched) == ledger.is_shared
    ledger.engine.dispose()


@pytest.mark.parametrize(
    ("call", "error"),
    [("scandir", errno.EIO), ("scandir", errno.ENOENT), ("stat", errno.EIO)],
    ids=["fault", "gone", "file"],
)
def test_a_folder_that_is_away_for_one_look_is_not_read_again(site, monkeypatch, looks, call, error):
    site.drop("film")
    site.drop("sub/film")
    genuine, away = getattr(os, call), threading.Event()

    def failing(path="."):
        if away.is_set() and str(site.folder / "sub") in os.fspath(path):
            raise OSError(error, os.strerror(error))
        return genuine(path)

    with site.watching(rescan=0.1, notice="polling"):
        eventually(lambda: len(site.rows) == 2)
        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            away.set()
            seen = len(looks)
            eventually(lambda: len(looks) > seen + 2)
        seen = len(looks)
        eventually(lambda: len(looks) > seen + 2)
        assert [row.state for row in site.rows] == ["taken", "taken"]
    assert sorted(site.taken) == ["film", "sub/film"]
