"""What media hold: nothing is lost without a word, nothing hostile is believed."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import dcmtk
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.errors import UnreadableMedium
from cxr_pacs.gateway.media import AGAIN, HIDDEN, UNNAMED, Media
from cxr_pacs.radiograph import MAXIMUM_INFLATED, read_radiograph


def small_radiograph(seed=0, **tags):
    return make_radiograph(picture=synthetic_chest(130, 130, seed), **tags)


def part10(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def listed(*paths):
    """Name and fault of each file, names relative to the first path; and what was left out."""
    media = Media(paths)
    files = {file.name.removeprefix(str(paths[0])).lstrip("/:"): file for file in media}
    return files, {reason: count for reason, count in media.left_out.items() if count}


def test_a_tree_is_read_in_the_order_of_its_names_without_what_is_hidden_or_half_written(tmp_path):
    for name in ("b/2.dcm", "b/10", "a.txt", ".hidden/x.dcm", "b/.x.dcm", "c.dcm.part", "Thumbs.db", "~$d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content of a file")
    files, left_out = listed(tmp_path)
    assert list(files) == ["a.txt", "b/10", "b/2.dcm"]
    assert left_out == {HIDDEN: 5}
    assert all(file.fault is None and file.part10() == b"content of a file" for file in files.values())
    # What is named outright is meant.
    assert list(listed(tmp_path / "c.dcm.part")[0]) == [""]


def test_loops_end_and_no_folder_is_read_twice(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(b"1")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "again").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nowhere").symlink_to("gone")
    files, left_out = listed(tmp_path)
    faults = {name: file.fault for name, file in files.items()}
    assert faults.pop("a/b/one") is None
    assert faults == {
        "a/b/up": "A loop: this link leads to a folder above it.",
        "itself": "Cannot be read: Too many levels of symbolic links.",
        "nowhere": "Cannot be read: No such file or directory.",
    }
    assert left_out == {AGAIN: 1}


def test_deep_trees_strange_names_and_strange_files(tmp_path):
    deep = tmp_path
    for _ in range(600):  # three calls a level would be deeper than Python's stack
        deep = deep / "d"
        deep.mkdir()
    (deep / "end").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"r\xf6ntgen\x1b[2J")).write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(5 << 30)
    files, _ = listed(tmp_path)
    assert files.pop("d/" * 600 + "end").fault is None
    assert files.pop("r\\xf6ntgen\\x1b[2J").content() == b"x"
    assert files.pop("fifo").fault == "It is no regular file."
    with pytest.raises(UnreadableMedium, match="5368709120 bytes"):
        files.pop("large").part10()
    assert not files


def test_what_is_gone_when_its_turn_comes_has_a_reason(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").mkdir()
    media = iter(Media([tmp_path, tmp_path / "c"]))
    first = next(media)
    first.path.unlink()
    (tmp_path / "b").rmdir()
    with pytest.raises(FileNotFoundError):
        first.part10()
    assert [file.fault for file in media] == ["Cannot be read: No such file or directory."] * 2


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, JPEGLSLossless])
def test_without_preamble_and_without_file_meta(tmp_path, syntax):
    dataset = small_radiograph() if syntax is None else small_radiograph(transfer_syntax=syntax)
    whole = part10(dataset)
    meta = struct.unpack_from("<I", whole, 140)[0]
    cut = {"none": 0, "preamble": 128, "magic": 132}
    if syntax != JPEGLSLossless:  # its syntax stands nowhere else
        cut["meta"] = 144 + meta
    for name, count in cut.items():
        (tmp_path / name).write_bytes(whole[count:])
        completed = next(iter(Media([tmp_path / name]))).part10()
        assert completed.endswith(whole[144 + meta :])
        read = dcmread(io.BytesIO(completed))
        assert read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert (read_radiograph(read).pixels == read_radiograph(dataset).pixels).all()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40).map(lambda tail: b"\x08\x00" + tail))
def test_what_only_begins_like_a_data_set_stays_as_it_is(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "begins"
    path.write_bytes(content)
    assert next(iter(Media([path]))).part10() == content


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "disk.ZIP"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("IM/1", part10(small_radiograph()))
        opened.writestr("IM/2.dcm", b"stored", zipfile.ZIP_STORED)
        opened.writestr("__MACOSX/._1", b"x")
        opened.writestr("inner.zip", b"PK\x03\x04 and so on")
    return path


def test_an_archive_is_read_member_by_member(archive):
    files, left_out = listed(archive)
    assert list(files) == ["IM/1", "IM/2.dcm", "inner.zip"]
    assert left_out == {HIDDEN: 1}
    assert files["IM/1"].part10() == part10(small_radiograph())
    assert files["IM/2.dcm"].part10() == b"stored"
    with pytest.raises(UnreadableMedium, match="within an archive: unpack the outer one"):
        files["inner.zip"].part10()
    archive.rename(archive.with_suffix(""))
    with pytest.raises(UnreadableMedium, match=r"without \.zip in its name"):
        next(iter(Media([archive.with_suffix("")]))).part10()


def directory_entry(content, name, field, value):
    """Change one field of a name's entry in an archive's directory (APPNOTE 4.3.12)."""
    offset, layout = {"flags": (8, "<H"), "method": (10, "<H"), "size": (24, "<I")}[field]
    start = content.rfind(b"PK\x01\x02", 0, content.rfind(name))
    changed = bytearray(content)
    struct.pack_into(layout, changed, start + offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("flags", 1, "It is encrypted"),
        ("method", 9, "method 9"),
        ("size", 1 << 20, "The member is damaged"),
        ("size", MAXIMUM_INFLATED + 1, "files of up to"),
    ],
)
def test_a_member_that_cannot_be_read_says_why_and_the_others_are_read(archive, field, value, reason):
    archive.write_bytes(directory_entry(archive.read_bytes(), b"IM/1", field, value))
    files, _ = listed(archive)
    with pytest.raises(UnreadableMedium, match=reason):
        files["IM/1"].part10()
    assert files["IM/2.dcm"].part10() == b"stored"


def test_a_bomb_is_not_opened(archive):
    archive.write_bytes(directory_entry(archive.read_bytes(), b"IM/1", "size", (1 << 31) - 1))
    (file,) = Media([archive])
    assert file.fault is not None
    assert "taken for a bomb" in file.fault


def test_an_archive_cut_at_any_byte_is_a_reason_and_no_end(archive):
    content = archive.read_bytes()
    for length in (*range(64), *range(64, len(content), 997), *range(len(content) - 300, len(content))):
        archive.write_bytes(content[:length])
        (file,) = Media([archive])
        assert file.fault is not None, length


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_an_archive_with_any_byte_changed_does_no_harm(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("one", b"one " * 40)
        opened.writestr("two", b"2")
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    for file in Media([path]):
        try:
            assert len(file.part10()) == file.size
        except UnreadableMedium as error:
            assert str(error)  # noqa: PT017


@pytest.fixture
def file_set(tmp_path):
    """Three radiographs and a DICOMDIR that names them, with a viewer beside them."""
    folder = tmp_path / "cd"
    (folder / "IMAGES").mkdir(parents=True)
    for seed in range(3):
        small_radiograph(seed).save_as(folder / "IMAGES" / f"IM{seed}")
    made = dcmtk("dcmmkdir", "+r", "+id", str(folder), "+D", str(folder / "DICOMDIR"), "IMAGES")
    assert made.returncode == 0, made.stderr
    (folder / "VIEWER.EXE").write_bytes(b"MZ")
    return folder


def instances(files):
    return {str(dcmread(io.BytesIO(file.part10())).SOPInstanceUID) for file in files.values()}


def test_a_folder_with_a_dicomdir_is_read_by_its_records(file_set):
    expected = {str(small_radiograph(seed).SOPInstanceUID) for seed in range(3)}
    files, left_out = listed(file_set)
    assert (len(files), instances(files), left_out) == (3, expected, {UNNAMED: 1})
    assert instances(listed(file_set / "DICOMDIR")[0]) == expected
    assert instances(listed(file_set.parent)[0]) == expected
    # Mounted by a system that writes the names of a CD small.
    for path in sorted(file_set.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    assert instances(listed(file_set)[0]) == expected


def test_a_file_that_the_dicomdir_names_and_is_not_there_is_named(file_set):
    gone = next(path for path in sorted(file_set.rglob("*")) if path.name.startswith("IM1"))
    gone.unlink()
    files, left_out = listed(file_set)
    faults = {name: file.fault for name, file in files.items() if file.fault}
    assert faults == {
        str(gone.relative_to(file_set)): "The DICOMDIR names this file, and the medium does not hold it."
    }
    assert (len(files), left_out) == (3, {UNNAMED: 1})


def test_a_dicomdir_cannot_lead_out_of_its_folder(file_set):
    (file_set.parent / "SECRET").write_bytes(b"x")
    directory = dcmread(file_set / "DICOMDIR")
    named = [record for record in directory.DirectoryRecordSequence if "ReferencedFileID" in record]
    for record, parts in zip(named, (["..", "SECRET"], ["../SECRET"], [str(file_set)]), strict=True):
        record["ReferencedFileID"] = DataElement("ReferencedFileID", "CS", parts, validation_mode=0)
    directory.save_as(file_set / "DICOMDIR")
    files = list(Media([file_set]))
    assert len(files) == 3
    assert all(file.fault and "does not hold it" in file.fault for file in files)


def test_a_dicomdir_that_is_none_hides_nothing(file_set):
    (file_set / "DICOMDIR").write_bytes(b"no directory")
    files, left_out = listed(file_set)
    assert "The DICOMDIR cannot be read" in files.pop("DICOMDIR").fault
    assert files.pop("VIEWER.EXE").fault is None
    assert (len(instances(files)), left_out) == (3, {})


def test_names_that_a_dicomdir_does_not_tell_apart_are_all_read(file_set, tmp_path):
    path = tmp_path / "cd.zip"
    name = next(p.name for p in (file_set / "IMAGES").iterdir() if p.name.startswith("IM0"))
    with zipfile.ZipFile(path, "w") as opened:
        for file in sorted(file_set.rglob("*")):
            if file.is_file():
                opened.write(file, file.relative_to(file_set))
        opened.writestr(f"images/{name.lower()}", part10(small_radiograph(7)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr(f"IMAGES/{name}", part10(small_radiograph(8)))
    media = Media([path])
    read = {dcmread(io.BytesIO(file.part10())).SOPInstanceUID for file in media}
    assert read == {small_radiograph(seed).SOPInstanceUID for seed in (0, 1, 2, 7, 8)}
    assert media.left_out[UNNAMED] == 1


def test_a_dicomdir_within_an_archive(file_set, tmp_path):
    path = tmp_path / "cd.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(file_set.rglob("*")):
            if file.is_file():
                opened.write(file, f"export/{file.relative_to(file_set)}")
        opened.writestr("readme.txt", b"hello")
    files, left_out = listed(path)
    assert files.pop("readme.txt").fault is None
    assert (len(instances(files)), left_out) == (3, {UNNAMED: 1})
