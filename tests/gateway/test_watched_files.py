"""The files of a watched folder: which are seen, when they are complete, what is made of their bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from chance import SEED
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from peers import dcmtk, eventually
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from radiographs import make_radiograph

from cxr_pacs.errors import RefusedInstance, SettingsError, UnreadableMedium
from cxr_pacs.gateway.watch.file_intake import FileIntake, Outcome, StillChanging, received_instance
from cxr_pacs.gateway.watch.filing import put_away
from cxr_pacs.gateway.watch.noticing import Notices
from cxr_pacs.gateway.watch.settling import Settling, open_for_writing
from cxr_pacs.gateway.watch.tree import FileState, Tree
from cxr_pacs.settings import parse_settings

# pydicom's quote what a damaged header says; `cli` silences them.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian)
CONTEXTS = {str(DigitalXRayImageStorageForPresentation): tuple(map(str, SYNTAXES))}
TINY = np.linspace(0, 1, 96, dtype=np.float32).reshape(12, 8)


def file_of(path, **tags):
    make_radiograph(picture=TINY, **tags).save_as(path)
    return path


def settled(path):
    """What a watch takes in: the path, and the state that settled."""
    return str(path), FileState.of(path.stat())


def bare(content):
    """The data set alone, as older equipment writes it."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


class Receiver(list):
    """In place of the intake."""

    def intake(self):
        return FileIntake("folder:scans", CONTEXTS, self.append)


# -- bytes --


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_file_cut_off_at_any_byte_is_not_taken_for_the_whole(tmp_path, syntax):
    content = file_of(tmp_path / "whole", transfer_syntax=syntax).read_bytes()
    whole = received_instance(content, "folder:scans", CONTEXTS)
    assert whole.dataset == bare(content)
    assert dcmread(tmp_path / "whole").SOPInstanceUID == whole.sop_instance_uid
    padding = 1 if syntax.is_deflated and content.endswith(b"\0") else 0  # PS3.5 A.5
    for end in range(len(content) - padding):
        with pytest.raises((UnreadableMedium, RefusedInstance)) as told:
            received_instance(content[:end], "folder:scans", CONTEXTS)
        assert str(told.value).endswith(".")


@pytest.mark.parametrize("syntax", SYNTAXES[:2], ids=lambda syntax: syntax.name)
def test_a_data_set_without_preamble_is_the_same_image(tmp_path, syntax):
    content = file_of(tmp_path / "whole", transfer_syntax=syntax).read_bytes()
    for given_bytes in (bare(content), content[128:], content[132:]):
        instance = received_instance(given_bytes, "folder:scans", CONTEXTS)
        assert instance.dataset == bare(content)
        assert instance.transfer_syntax_uid == syntax
        (tmp_path / "kept").write_bytes(instance.part10)
        assert dcmread(tmp_path / "kept").SOPInstanceUID == dcmread(tmp_path / "whole").SOPInstanceUID
    for end in range(len(bare(content))):
        with pytest.raises((UnreadableMedium, RefusedInstance)):
            received_instance(bare(content)[:end], "folder:scans", CONTEXTS)


@seed(SEED)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_received_or_refused_and_nothing_else(data):
    content = bytearray(_WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableMedium, RefusedInstance):
        received_instance(bytes(content), "folder:scans", CONTEXTS)


def _whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return file_of(Path(folder, "whole")).read_bytes()


_WHOLE = _whole()


@pytest.mark.parametrize(
    ("content", "state", "said"),
    [
        (b"", "failed", "empty"),
        (b"hello", "refused", "not a DICOM file"),
        (bytes(200), "refused", "not a DICOM file"),
        (bytes(128) + b"DICM", "failed", "file meta information"),
    ],
    ids=["empty", "text", "zeros", "preamble"],
)
def test_what_is_no_image_has_a_reason(tmp_path, content, state, said):
    (tmp_path / "file").write_bytes(content)
    outcome = Receiver().intake().take(*settled(tmp_path / "file"))
    assert outcome.state == state
    assert said in outcome.reason


def test_what_the_gateway_does_not_read_is_refused(tmp_path):
    receiver = Receiver()
    other = file_of(tmp_path / "ct", SOPClassUID=CTImageStorage)
    assert receiver.intake().take(*settled(other)).reason == "CT Image Storage: the gateway reads others."
    packed = file_of(tmp_path / "jls", transfer_syntax=JPEGLSLossless)
    assert "does not decode" in receiver.intake().take(*settled(packed)).reason
    content = file_of(tmp_path / "own").read_bytes()
    (tmp_path / "own").write_bytes(content.replace(ExplicitVRLittleEndian.encode(), b"1.2.840.99999.1.2.1"))
    told = receiver.intake().take(*settled(tmp_path / "own"))
    assert told == Outcome(
        state="refused", reason="an unknown transfer syntax: the gateway does not decode it."
    )
    private = file_of(tmp_path / "private", SOPClassUID="Doe^John")
    assert receiver.intake().take(*settled(private)).reason.startswith("an unknown SOP class")
    assert receiver == []


_TAKE_AND_WEIGH = """
import os, resource, sys
from cxr_pacs.gateway.watch.file_intake import FileIntake
from cxr_pacs.gateway.watch.tree import FileState
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = FileIntake("folder:scans", {}, print).take(sys.argv[1], FileState.of(os.stat(sys.argv[1])))
print(outcome.state, outcome.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sep="\\n")
"""


def test_five_gigabytes_are_refused_unread(tmp_path):
    with (tmp_path / "vast").open("wb") as file:
        file.write(_WHOLE)
        file.truncate(5 << 30)
    # In a process of its own: this one's peak may be higher already.
    told = subprocess.check_output([sys.executable, "-c", _TAKE_AND_WEIGH, tmp_path / "vast"], text=True)
    state, reason, more = told.splitlines()
    assert (state, "5368709120 bytes" in reason) == ("failed", True)
    assert int(more) < 20 << 10  # KiB


def test_a_zip_brings_each_member_and_says_what_it_could_not(tmp_path):
    files = [file_of(tmp_path / name, PatientID=name) for name in ("a", "b")]
    with zipfile.ZipFile(tmp_path / "cd", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"IMAGES/{file.name}")
        archive.writestr("IMAGES/.hidden", b"x")
        archive.writestr("README", b"a viewer")
    receiver = Receiver()
    outcome = receiver.intake().take(*settled(tmp_path / "cd"))
    assert outcome.state == "taken"
    assert outcome.reason == "Of 3 members of the archive 1 refused: It is not a DICOM file."
    assert {one.sop_instance_uid for one in receiver} == {dcmread(file).SOPInstanceUID for file in files}
    with zipfile.ZipFile(tmp_path / "cd", "a") as archive:
        archive.writestr("IMAGES/c", files[0].read_bytes()[:-1])
    outcome = receiver.intake().take(*settled(tmp_path / "cd"))
    assert outcome.state == "failed"
    assert "Of 4 members of the archive 1 failed: It is incomplete" in outcome.reason
    whole = (tmp_path / "cd").read_bytes()
    (tmp_path / "cd").write_bytes(whole[: len(whole) // 2])
    assert receiver.intake().take(*settled(tmp_path / "cd")).state == "failed"


def test_an_archive_within_an_archive_and_what_a_dicomdir_misses_are_told(tmp_path):
    directory, image = tmp_path / "DICOMDIR", file_of(tmp_path / "FILM")
    made = dcmtk("dcmmkdir", "+r", "+id", tmp_path, "+D", directory, "FILM")
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.write(image, "film")

    def outcome_of(**files):
        with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
            for name, file in files.items():
                archive.write(file, f"cd/{name}")
        return Receiver().intake().take(*settled(tmp_path / "zip"))

    assert outcome_of(DICOMDIR=directory, film=image) == Outcome(state="taken")
    told = outcome_of(DICOMDIR=directory, other=image)
    assert told.state == "failed"
    assert told.reason.endswith("1 failed: The DICOMDIR names a file that the archive does not hold.")
    assert outcome_of(film=image, viewer=tmp_path / "inner.zip").state == "taken"
    told = outcome_of(film=image, **{"inner.ZIP": tmp_path / "inner.zip"})
    assert told.state == "failed"
    assert "Of 2 members of the archive 1 failed: A ZIP archive within an archive" in told.reason
    told = outcome_of(film=image, dicomdir=image)
    assert "The DICOMDIR cannot be read" in told.reason


def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path):
    path = file_of(tmp_path / "growing")

    def receive(_):
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(StillChanging):
        FileIntake("folder:scans", CONTEXTS, receive).take(*settled(path))


def test_a_file_that_is_not_as_it_settled_is_not_taken(tmp_path):
    path, state = settled(file_of(tmp_path / "film"))
    receiver = Receiver()
    os.utime(path, ns=(0, state.modified + 1))
    with pytest.raises(StillChanging):
        receiver.intake().take(path, state)
    assert receiver == []


# -- which files --


def seen(tree):
    return {os.path.relpath(one.path, tree.root): one.fault or one.refusal for one in tree.files()}


def test_hidden_and_temporary_names_are_passed_over_and_any_other_is_seen(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    for name in ("IM000001", "x.dcm", "y.DCM", ".x", "x.part", "x.TMP", "x~", "z.filepart"):
        (deep / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_bytes(b"x")
    odd = os.fsencode(tmp_path) + b"/r\xf6ntgen"
    with open(odd, "wb"):  # noqa: PTH123
        pass
    below = "d/" * 60
    assert seen(Tree(tmp_path, ())) == dict.fromkeys(
        [f"{below}IM000001", f"{below}x.dcm", f"{below}y.DCM", os.fsdecode(b"r\xf6ntgen")]
    )
    assert Tree(tmp_path, ()).is_meant(os.fsdecode(odd))
    assert not Tree(tmp_path, ()).is_meant(str(tmp_path / ".git" / "x"))


def test_links_that_loop_lead_away_or_nowhere_are_told(tmp_path):
    root, away = tmp_path / "root", tmp_path / "away"
    root.mkdir()
    away.mkdir()
    (away / "file").write_bytes(b"x")
    (root / "loop").symlink_to(root)
    (root / "away").symlink_to(away)
    (root / "file").symlink_to(away / "file")
    (root / "itself").symlink_to(root / "itself")
    (root / "nowhere").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe")
    assert seen(Tree(root, ())) == {
        "loop": "A link to a folder is not followed: watch that folder itself.",
        "away": "A link to a folder is not followed: watch that folder itself.",
        "file": None,
        "itself": "It cannot be read: Too many levels of symbolic links.",
        "nowhere": "It cannot be read: No such file or directory.",
    }


def test_done_and_failed_are_left_out_at_the_top_alone(tmp_path):
    for name in ("done/a", "failed/b", "year/done/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    tree = Tree(tmp_path, {"done", "failed"})
    assert seen(tree) == {"year/done/c": None}
    assert list(tree.at(str(tmp_path / "done" / "a"))) == []


@pytest.fixture
def as_nobody():
    """A folder that anybody may reach, and ourselves without a right to everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name in ("shut", "open", "listed"):
            Path(folder, name).mkdir()
        file_of(Path(folder, "listed", "file"))
        Path(folder, "listed").chmod(0o644)
        file_of(Path(folder, "open", "file")).chmod(0)
        Path(folder, "shut").chmod(0)
        mine = os.geteuid()
        if mine == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(mine)
            for name in ("shut", "listed"):
                Path(folder, name).chmod(0o755)


def test_what_may_not_be_read_is_told(as_nobody):
    assert seen(Tree(as_nobody, ())) == {
        "shut": "The folder cannot be read: Permission denied.",
        "listed/file": "It cannot be read: Permission denied.",
        "open/file": None,
    }
    with pytest.raises(PermissionError):
        Receiver().intake().take(*settled(as_nobody / "open" / "file"))


def test_an_entry_whose_kind_cannot_be_told_ends_no_look(tmp_path, monkeypatch):
    """As on file systems that list names alone, so that each is asked for its kind."""

    class Entry:
        name, path = "odd", str(tmp_path / "odd")

        def is_dir(self, *, follow_symlinks):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    file_of(tmp_path / "file")
    (tmp_path / "odd").symlink_to("odd")
    scan = os.scandir

    @contextlib.contextmanager
    def scandir(path):
        with scan(path) as entries:
            yield [Entry() if entry.name == "odd" else entry for entry in entries]

    monkeypatch.setattr(os, "scandir", scandir)
    assert seen(Tree(tmp_path, ())) == {
        "file": None,
        "odd": "It cannot be read: Too many levels of symbolic links.",
    }


# -- when --


def test_a_file_settles_once_nothing_changed_for_long_enough(tmp_path):
    path = str(file_of(tmp_path / "file"))
    settling = Settling(2.0, lambda _: ())
    settling.notice(path, FileState(1, 1), 0.0)
    assert settling.due == 2.0
    assert settling.settled(1.9) == []
    assert settling.settled(2.0) == []  # another size than at first
    state = FileState.of(Path(path).stat())
    os.utime(path, ns=(0, state.modified + 1))
    assert settling.settled(4.0) == []
    assert settling.settled(5.9) == []
    assert settling.settled(6.0) == [(path, FileState(state.size, state.modified + 1))]
    assert settling.due == float("inf")


def test_a_file_that_goes_meanwhile_is_waited_for_no_more(tmp_path):
    settling = Settling(0.0, lambda _: ())
    settling.notice(str(tmp_path / "gone"), FileState(1, 1), 0.0)
    assert (settling.settled(1.0), len(settling)) == ([], 0)


def test_a_file_that_another_process_writes_is_waited_for(tmp_path):
    path = file_of(tmp_path / "file")
    hold = "import sys; f = open(sys.argv[1], sys.argv[2]); print(flush=True); sys.stdin.read()"

    def holding(mode):
        return subprocess.Popen(
            [sys.executable, "-c", hold, path, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    settling = Settling(0.0, open_for_writing)
    state = FileState.of(path.stat())
    with holding("ab") as writer:
        writer.stdout.readline()
        settling.notice(str(path), state, 0.0)
        assert settling.settled(1.0) == []
        writer.stdin.close()
    with holding("rb") as reader:
        reader.stdout.readline()
        assert settling.settled(2.0) == [(str(path), state)]
        reader.stdin.close()


def test_events_are_of_the_folder_that_is_there_now(tmp_path):
    folder, wake = tmp_path / "in", threading.Event()
    notices = Notices(folder, wake)
    notices.attach()  # there is none yet
    for name in ("first", "second"):
        folder.mkdir()
        notices.attach()
        (folder / name).write_bytes(b"x")
        assert wake.wait(20)
        assert eventually(lambda name=name: str(folder / name) in notices.take())
        folder.rename(tmp_path / f"was {name}")  # as a share that is mounted anew
        wake.clear()
    notices.detach()


@pytest.mark.parametrize("name", ["in", "link", "./link/../in", "absolute"])
def test_events_name_paths_as_a_look_over_the_folder_does(tmp_path, monkeypatch, name):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in" if name == "absolute" else Path(name)
    notices = Notices(folder, threading.Event())
    notices.attach()
    for file in ("first", "sub/second"):
        (tmp_path / "in" / file).write_bytes(b"x")
    tree, heard = Tree(folder, ()), set()
    wanted = {one.path for one in tree.files()}
    eventually(lambda: heard.update(notices.take()) or heard >= wanted)
    assert len(wanted) == 2
    assert heard == wanted
    notices.detach()


# -- afterwards --


def test_a_file_is_put_away_beside_what_is_there_already(tmp_path):
    outcome = Outcome(state="failed", reason="It is empty.")
    for content in (b"1", b"2"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "x").write_bytes(content)
        put_away(str(tmp_path), *settled(tmp_path / "a" / "x"), outcome)
    (tmp_path / "a" / "x").write_bytes(b"3")
    put_away(str(tmp_path), *settled(tmp_path / "a" / "x"), Outcome(state="taken"))
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {
        "failed/a/x": b"1",
        "failed/a/x.reason": b"It is empty.\n",
        "failed/a/x.1": b"2",
        "failed/a/x.1.reason": b"It is empty.\n",
        "done/a/x": b"3",
    }


def test_a_file_that_is_another_by_now_is_not_put_away(tmp_path):
    path, state = settled(file_of(tmp_path / "x"))
    os.utime(path, ns=(0, state.modified + 1))
    for outcome in (Outcome(state="taken"), Outcome(state="failed", reason="It is empty.")):
        with pytest.raises(StillChanging):
            put_away(str(tmp_path), path, state, outcome)
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["x"]


# -- settings --


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[spool]\npath = '/in/spool'", "watch.0.folder: spool.path (/in/spool) lies in it"),
        ("[[destination]]\nname = 'd'\nfolder = '/in/d'", "destination d (/in/d) lies in it"),
        ("[[watch]]\nname = 'b'\nfolder = '/in/../in/b'", "watch b (/in/../in/b) lies in it"),
        ("[[watch]]\nname = 'a'\nfolder = '/b'", "watch.name: used twice: a"),
        ("[[watch]]\nname = 'b'\nfolders = '/b'", "unknown key; did you mean 'folder'"),
    ],
    ids=["spool", "destination", "within", "name", "key"],
)
def test_folders_that_would_feed_on_each_other_are_refused(text, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        parse_settings(f"{text}\n[[watch]]\nname = 'a'\nfolder = '/in'", "x")


def test_a_watched_folder_may_be_named_as_a_source():
    text = """
[study]
quiet_period_of = { "folder:a" = 1.0 }
[[destination]]
name = "d"
folder = "/out"
[[route]]
destinations = ["d"]
source = ["folder:a", "CR1"]
"""
    given = parse_settings(text, "x")
    assert given.route[0].source == ("folder:a", "CR1")
    with pytest.raises(SettingsError, match="an AE title has"):
        parse_settings(text.replace("folder:a", "holder:a and more"), "x")
